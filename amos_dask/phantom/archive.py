"""A synthetic AMOS22 archive: a folder or a zip, with everything that is odd in the real one."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from amos_dask.phantom.painting import make_scan
from amos_dask.phantom.patients_csv import N_CT, N_MRI, metadata_csv
from amos_dask.phantom.planted import DEFECTS, FORMS, SIZES, PlantedSample, plan_samples
from amos_dask.phantom.quirks import PLAIN, mask_file, storage_affine, storage_codes, volume_file

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
_RAS_PAIRS: Final = ("RL", "AP", "SI")
_ZIP_TIME: Final = (2022, 7, 1, 12, 0, 0)
_APPLE_DOUBLE: Final = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(58)
_DS_STORE: Final = b"\0\0\0\1Bud1" + bytes(24)
_HALF_A_FILE: Final = bytes.fromhex("1f8b0800000000000003") + bytes(90)

Files = Iterable[tuple[str, bytes]]


@dataclass(frozen=True)
class Archive:
    """A written archive and what is in it.

    Attributes
    ----------
    path
        The folder ``amos22`` or the file ``amos22.zip``.
    metadata_path
        The csv: inside the folder, or beside the zip.
    root
        Folder inside the zip that holds ``imagesTr``, POSIX, without slashes around it; "" for
        a folder.
    samples
        By seq.
    junk
        Files that belong to no scan, relative to `path`, POSIX, sorted.
    """

    path: Path
    metadata_path: Path
    root: str
    samples: tuple[PlantedSample, ...]
    junk: tuple[str, ...]


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
        The archive is there already.
    """
    _require_arguments(n_ct, n_mri, size, form, defects)
    parent = Path(directory)
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / ("amos22" if form == "folder" else "amos22.zip")
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    samples, patients = plan_samples(n_ct, n_mri, size, seed, quirks, defects)
    junk = _junk(samples) if quirks else {}
    files = _files(samples, seed, quirks, junk)
    table = metadata_csv(patients)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".phantom-") as folder:
        staged = Path(folder) / path.name
        if form == "folder":
            _write_folder(staged, files)
            (staged / METADATA_NAME).write_bytes(table)
            staged.rename(path)
            return Archive(path, path / METADATA_NAME, "", samples, tuple(sorted(junk)))
        root = "amos22/amos22" if quirks else "amos22"
        _write_zip(staged, root, files)
        (parent / METADATA_NAME).write_bytes(table)
        staged.rename(path)
    names = tuple(sorted(_zip_name(name, root) for name in junk))
    return Archive(path, parent / METADATA_NAME, root, samples, names)


def _require_arguments(n_ct: int, n_mri: int, size: str, form: str, defects: bool) -> None:
    room = N_CT - (len(DEFECTS) if defects else 0)
    if not 0 <= n_ct <= room:
        raise ValueError(f"n_ct must be in 0..{room}, not {n_ct}")
    if not 0 <= n_mri <= N_MRI:
        raise ValueError(f"n_mri must be in 0..{N_MRI}, not {n_mri}")
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")


def _files(
    samples: Iterable[PlantedSample], seed: int, quirks: bool, junk: dict[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of everything below the archive's root; folders end with a slash."""
    for folder in _FOLDERS:
        yield folder, b""
    for sample in samples:
        yield from _scan_files(sample, seed)
    yield "dataset.json", (json.dumps(_dataset_json(samples, quirks), indent=1) + "\n").encode()
    yield "readme.md", _README.encode()
    yield from junk.items()


def _scan_files(sample: PlantedSample, seed: int) -> Iterator[tuple[str, bytes]]:
    """Make a scan, and yield its volume and its mask."""
    quirks = sample.quirks or PLAIN
    # The axis as stored of each axis in RAS.
    codes = storage_codes(quirks)
    i, j, k = (next(n for n in range(3) if codes[n] in pair) for pair in _RAS_PAIRS)
    shape = (sample.shape[i], sample.shape[j], sample.shape[k])
    spacing_mm = (sample.spacing_mm[i], sample.spacing_mm[j], sample.spacing_mm[k])
    rng = np.random.default_rng([seed, int(sample.seq)])
    scan_seed = int(rng.integers(2**31))
    scan = make_scan(sample.modality, shape, spacing_mm, scan_seed, sex=sample.anatomy)
    corner = -0.5 * np.array(shape) * spacing_mm + rng.integers(-900, 901, 3) / 10
    affine = storage_affine(shape, spacing_mm, quirks, corner)
    volume = volume_file(scan.volume, quirks, affine)
    if sample.defect == "truncated_volume":
        volume = volume[: len(volume) * 3 // 5]
    yield sample.image, volume
    if not sample.mask_name:
        return
    mask = scan.mask
    if sample.defect == "mask_shape":
        mask = mask[:, :, :-1]
    if sample.defect == "unknown_label":
        mask[tuple(slice(n // 2, n // 2 + 2) for n in shape)] = UNKNOWN_LABEL
    if sample.defect == "unreadable_mask":
        yield sample.mask_name, b"<html><body>404 Not Found</body></html>\n"
    else:
        yield sample.mask_name, mask_file(mask, quirks, affine)


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


def _junk(samples: tuple[PlantedSample, ...]) -> dict[str, bytes]:
    """Return what a Mac and an interrupted download leave behind."""
    files = {".DS_Store": _DS_STORE, "imagesTr/.DS_Store": _DS_STORE}
    files |= dict.fromkeys(("._dataset.json", "__MACOSX/._imagesTr"), _APPLE_DOUBLE)
    for sample in samples[:2]:
        for name in filter(None, (sample.image, sample.mask_name)):
            shadow = name.replace("/", "/._")
            files |= dict.fromkeys((shadow, f"__MACOSX/{shadow}"), _APPLE_DOUBLE)
    return files | {"imagesTs/amos_0300.nii.gz.part": _HALF_A_FILE}


def _write_folder(target: Path, files: Files) -> None:
    for name, content in files:
        if name.endswith("/"):
            (target / name).mkdir(parents=True)
        else:
            (target / name).parent.mkdir(exist_ok=True, parents=True)
            (target / name).write_bytes(content)


def _zip_name(name: str, root: str) -> str:
    """Return the name in the zip: a Mac keeps `__MACOSX` beside the folder, not in it."""
    if name.startswith("__MACOSX/"):
        return f"__MACOSX/{root}/{name.removeprefix('__MACOSX/')}"
    return f"{root}/{name}"


def _write_zip(target: Path, root: str, files: Files) -> None:
    """Zip files with fixed times; every third is stored, not deflated."""
    with zipfile.ZipFile(target, "w") as archive:
        for number, (name, content) in enumerate(files):
            info = zipfile.ZipInfo(_zip_name(name, root), _ZIP_TIME)
            info.external_attr = 0o644 << 16
            method = zipfile.ZIP_STORED if number % 3 == 0 else zipfile.ZIP_DEFLATED
            archive.writestr(info, content, method, compresslevel=1)
