"""A synthetic AMOS22 archive: a folder or a zip, with everything that is odd in the real one."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from amos_dask.archive.recognise import require_outside_archives
from amos_dask.phantom.painting import make_scan
from amos_dask.phantom.planted import (
    DEFECTS,
    N_CT,
    N_MRI,
    PLAIN,
    SIZES,
    PlantedSample,
    metadata_csv,
    nifti_pair,
    plan_samples,
    ras_axes,
)

METADATA_NAME: Final = "labeled_data_meta_0000_0599.csv"
UNKNOWN_LABEL: Final = 77

_FOLDERS: Final = ("imagesTr/", "labelsTr/", "imagesVa/", "labelsVa/", "imagesTs/")
_SECTIONS: Final = {"train": "training", "val": "validation", "test": "test"}
_LABEL_NAMES: Final = (
    "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver",
    "stomach", "arota", "postcava", "pancreas", "right adrenal gland", "left adrenal gland",
    "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip
_README: Final = (
    "# AMOS22 phantom\n\nSynthetic scans; no patient was involved.\n"
    "Scans with an id less than 500 are CT, the others MRI.\n"
)
_MAC: Final = "__MACOSX/"
_ZIP_TIME: Final = (2022, 7, 1, 12, 0, 0)
_APPLE_DOUBLE: Final = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(58)
_DS_STORE: Final = b"\0\0\0\1Bud1" + bytes(24)
_WEB_PAGE: Final = b"<html><body>404 Not Found</body></html>\n"
_HALF_A_FILE: Final = bytes.fromhex("1f8b0800000000000003") + bytes(90)

Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Archive:
    """A written archive and what is in it."""

    path: Path  # the folder ``amos22`` or the file ``amos22.zip``
    metadata_path: Path  # the csv: inside the folder, or beside the zip
    samples: tuple[PlantedSample, ...]  # by seq


def write_archive(
    directory: str | os.PathLike[str],
    *,
    n_ct: int = 8,
    n_mri: int = 4,
    size: str = "small",
    seed: int = 0,
    form: str = "folder",
    quirks: bool = True,
    defects: bool = False,
) -> Archive:
    """Write a synthetic archive.

    The files of the scans are the same bytes in both forms, and for every run with the same
    arguments.

    Parameters
    ----------
    directory
        Is made when absent. The archive becomes ``amos22`` or ``amos22.zip`` in it.
    n_ct, n_mri
        Scans of each modality, at most 500 and 100. Three of a modality cover all subsets,
        8 and 4 cover every quirk.
    size
        "tiny" (16x14x6), "small" (about 56x48x16) or "full" (512x512x90 and 320x260x72).
    seed
        Draws patients, anatomy and noise.
    form
        "folder" or "zip".
    quirks
        Plant what is odd in the real archive, and junk files.
    defects
        Add four CT scans that cannot be processed, one for each of `DEFECTS`.

    Returns
    -------
    Archive
        Where it is and what was planted.

    Raises
    ------
    ValueError
        An argument is outside what is described above.
    FileExistsError
        The archive, or another csv beside the zip, is there already; nothing is replaced.
    AmosDaskError
        The place is inside another archive.

    Examples
    --------
    >>> import tempfile
    >>> from amos_dask import write_archive
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     archive = write_archive(folder, n_ct=2, n_mri=1, size="tiny", form="zip")
    >>> [(sample.sample_id, sample.subset) for sample in archive.samples]
    [('amos_0001', 'train'), ('amos_0004', 'val'), ('amos_0507', 'train')]
    """
    _require_arguments(n_ct, n_mri, size, form, defects)
    parent = Path(directory)
    path = parent / ("amos22" if form == "folder" else "amos22.zip")
    require_outside_archives(parent)
    samples, patients = plan_samples(n_ct, n_mri, size, seed, quirks, defects)
    files, csv = _files(samples, seed, quirks), metadata_csv(patients.values())
    metadata = (path if form == "folder" else parent) / METADATA_NAME
    _require_free(path, metadata, csv)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".phantom-") as folder:
        staged = Path(folder) / path.name
        if form == "folder":
            _write_folder(staged, files)
        else:
            _write_zip(staged, "amos22/amos22" if quirks else "amos22", files)
        beside = staged if form == "folder" else Path(folder)
        (beside / METADATA_NAME).write_bytes(csv)
        _require_free(path, metadata, csv)  # it took a while
        if form == "zip" and not metadata.exists():
            (beside / METADATA_NAME).rename(metadata)
        staged.rename(path)
    return Archive(path, metadata, samples)


def _require_free(path: Path, metadata: Path, csv: bytes) -> None:
    """Raise when something is where an archive is to be, or another csv where its csv is to be."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; choose another folder")
    is_same = metadata.is_file() and metadata.read_bytes() == csv
    if os.path.lexists(metadata) and not is_same:
        raise FileExistsError(
            f"{metadata} is there already and is another; choose another folder or move it away"
        )


def _require_arguments(n_ct: int, n_mri: int, size: str, form: str, defects: bool) -> None:
    n_most = N_CT - (len(DEFECTS) if defects else 0)
    if not (0 <= n_ct <= n_most and 0 <= n_mri <= N_MRI):
        raise ValueError(f"at most {n_most} CT and {N_MRI} MR scans, not {n_ct} and {n_mri}")
    for name, value, allowed in (("size", size, SIZES), ("form", form, ("folder", "zip"))):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _files(samples: tuple[PlantedSample, ...], seed: int, quirks: bool) -> Files:
    """Yield name and bytes of everything below the archive's root; folders end with a slash."""
    for folder in _FOLDERS:
        yield folder, b""
    for sample in samples:
        yield from _scan_files(sample, seed)
    yield "dataset.json", (json.dumps(_dataset_json(samples, quirks), indent=1) + "\n").encode()
    yield "readme.md", _README.encode()
    if quirks:
        yield from _junk(samples)


def _scan_files(sample: PlantedSample, seed: int) -> Files:
    """Make a scan, and yield its volume and its mask."""
    quirks = sample.quirks or PLAIN
    i, j, k = np.argsort(ras_axes(quirks))
    shape = (sample.shape[i], sample.shape[j], sample.shape[k])
    spacing_mm = (sample.spacing_mm[i], sample.spacing_mm[j], sample.spacing_mm[k])
    rng = np.random.default_rng([seed, int(sample.seq)])
    scan = make_scan(
        sample.modality, shape, spacing_mm, int(rng.integers(2**31)), sex=sample.anatomy
    )
    if sample.defect == "mask_shape":
        scan = replace(scan, mask=scan.mask[:, :, :-1])
    if sample.defect == "unknown_label":
        scan.mask[tuple(slice(n // 2, n // 2 + 2) for n in shape)] = UNKNOWN_LABEL
    corner_mm = rng.integers(-900, 901, 3) / 10 - np.multiply(shape, spacing_mm) / 2
    volume, mask = nifti_pair(scan, quirks, corner_mm)
    cut = len(volume) * 3 // 5 if sample.defect == "truncated_volume" else len(volume)
    yield sample.image, volume[:cut]
    if sample.mask_name:
        yield sample.mask_name, _WEB_PAGE if sample.defect == "unreadable_mask" else mask


def _dataset_json(samples: Iterable[PlantedSample], quirks: bool) -> dict[str, Any]:
    sections: dict[str, list[Any]] = {section: [] for section in _SECTIONS.values()}
    for sample in samples:
        # nnU-Net leaves _0000 out of dataset.json though the files have it.
        image = "./" + sample.image.replace("_0000.nii.gz", ".nii.gz")
        entries = sections[_SECTIONS[sample.subset]]
        if sample.mask_name:
            entries.append({"image": image, "label": "./" + sample.mask_name})
        else:
            entries.append(image if quirks and len(entries) % 2 else {"image": image})
    return {
        "name": "AMOS",
        "description": "synthetic scans in the form of AMOS22",
        "reference": "amos-dask phantom",
        "licence": "CC0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {str(index): name for index, name in enumerate(_LABEL_NAMES)},
        "numTraining": len(sections["training"]),
        "numValidation": len(sections["validation"]),
        "numTest": len(sections["test"]),
        **sections,
    }


def _junk(samples: tuple[PlantedSample, ...]) -> Files:
    """Yield what a Mac and an interrupted download leave behind."""
    yield from ((f"{folder}.DS_Store", _DS_STORE) for folder in ("", "imagesTr/"))
    names = [name for sample in samples[:2] for name in (sample.image, sample.mask_name) if name]
    for name in names:
        yield name.replace("/", "/._"), _APPLE_DOUBLE
        yield _MAC + name.replace("/", "/._"), _APPLE_DOUBLE
    yield "imagesTs/amos_0300.nii.gz.part", _HALF_A_FILE


def _write_folder(target: Path, files: Files) -> None:
    for name, content in files:
        if name.endswith("/"):
            (target / name).mkdir(parents=True)
        else:
            (target / name).parent.mkdir(exist_ok=True, parents=True)
            (target / name).write_bytes(content)


def _write_zip(target: Path, root: str, files: Files) -> None:
    """Zip files with fixed times; every third is stored, not deflated."""
    with zipfile.ZipFile(target, "w") as archive:
        for number, (name, content) in enumerate(files):
            # A Mac keeps __MACOSX beside the folder, not in it.
            on_top, below = (_MAC, name[len(_MAC) :]) if name.startswith(_MAC) else ("", name)
            info = zipfile.ZipInfo(f"{on_top}{root}/{below}", _ZIP_TIME)
            info.external_attr = 0o644 << 16
            method = zipfile.ZIP_STORED if number % 3 == 0 else zipfile.ZIP_DEFLATED
            archive.writestr(info, content, method, compresslevel=1)
