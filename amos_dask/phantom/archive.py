"""A synthetic AMOS22 archive: a folder or a zip, with everything that is odd in the real one."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from amos_dask.phantom import metadata
from amos_dask.phantom.contents import Job, PlantedSample, plan_jobs, require_arguments
from amos_dask.phantom.metadata import modality_of
from amos_dask.phantom.quirks import (
    mask_file,
    quirk_names,
    storage_affine,
    stored,
    volume_file,
)
from amos_dask.phantom.scan import make_scan

METADATA_NAME: Final = "labeled_data_meta_0000_0599.csv"
UNKNOWN_LABEL: Final = 77

_SUFFIX: Final = {"train": "Tr", "val": "Va", "test": "Ts"}
_SECTION: Final = {"train": "training", "val": "validation", "test": "test"}
_LABEL_NAMES: Final = (
    "background", "spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver",
    "stomach", "arota", "postcava", "pancreas", "right adrenal gland", "left adrenal gland",
    "duodenum", "bladder", "prostate/uterus",
)  # fmt: skip
_ZIP_TIME: Final = (2022, 7, 1, 12, 0, 0)
_APPLE_DOUBLE: Final = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(58)


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
    noisy: bool = False,
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
    noisy
        Plant some twenty times as many islands and pinholes.

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
    require_arguments(n_ct, n_mri, size, form, defects)
    parent = Path(directory)
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / ("amos22" if form == "folder" else "amos22.zip")
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    jobs, patients = plan_jobs(n_ct, n_mri, size, seed, quirks, defects)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".phantom-") as staging:
        tree = Path(staging) / "amos22"
        samples = _write_tree(tree, jobs, size, seed, noisy)
        _write_around(tree, samples, quirks)
        junk = _write_junk(tree, samples) if quirks else ()
        table = metadata.metadata_csv(patients)
        if form == "folder":
            (tree / METADATA_NAME).write_bytes(table)
            tree.rename(path)
            return Archive(path, path / METADATA_NAME, "", samples, junk)
        root = "amos22/amos22" if quirks else "amos22"
        zipped = Path(staging) / "amos22.zip"
        _write_zip(zipped, tree, root)
        (parent / METADATA_NAME).write_bytes(table)
        zipped.rename(path)
    junk = tuple(sorted(_zip_name(name, root) for name in junk))
    return Archive(path, parent / METADATA_NAME, root, samples, junk)


def _write_tree(
    tree: Path, jobs: list[Job], size: str, seed: int, noisy: bool
) -> tuple[PlantedSample, ...]:
    """Write the scans; a pool of threads only where a scan takes seconds."""
    for folder in ("imagesTr", "labelsTr", "imagesVa", "labelsVa", "imagesTs"):
        (tree / folder).mkdir(parents=True)
    if size != "full":
        return tuple(_write_sample(tree, job, seed, noisy) for job in jobs)
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 4)) as pool:
        return tuple(pool.map(lambda job: _write_sample(tree, job, seed, noisy), jobs))


def _write_sample(tree: Path, job: Job, seed: int, noisy: bool) -> PlantedSample:
    modality, plan = modality_of(job.number), job.plan
    rng = np.random.default_rng([seed, job.number])
    scan_seed = int(rng.integers(2**31))
    scan = make_scan(modality, job.shape, job.spacing_mm, scan_seed, sex=job.anatomy, noisy=noisy)
    corner = -0.5 * np.array(scan.volume.shape) * scan.spacing_mm + rng.uniform(-90, 90, 3)
    affine = storage_affine(scan, plan, corner)
    seq, suffix = f"{job.number:04d}", _SUFFIX[job.subset]
    image = f"images{suffix}/amos_{seq}{'_0000' if plan.nnunet_name else ''}.nii.gz"
    volume = volume_file(scan, plan, affine)
    if job.defect == "truncated_volume":
        volume = volume[: len(volume) * 3 // 5]
    (tree / image).write_bytes(volume)
    mask_name = ""
    if job.subset != "test":
        mask_name = f"labels{suffix}/amos_{seq}.nii.gz"
        (tree / mask_name).write_bytes(_mask_bytes(stored(scan.mask, plan), job, affine))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return PlantedSample(
        seq=seq,
        subset=job.subset,
        modality=modality,
        sex=job.patient.sex,
        age=job.patient.age,
        birth_date=job.patient.birth_date,
        acquisition_date=job.patient.acquisition_date,
        scanner=job.patient.scanner,
        manufacturer=job.patient.manufacturer,
        site=job.patient.site,
        anatomy=job.anatomy,
        image=image,
        mask_name=mask_name,
        mask=plan.mask_dtype if mask_name else "none",
        shape=stored(scan.volume, plan).shape,
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        quirks=quirk_names(plan, labelled=bool(mask_name)) if job.named_quirks else (),
        defect=job.defect,
    )


def _mask_bytes(mask: Any, job: Job, affine: Any) -> bytes:
    if job.defect == "unreadable_mask":
        return b"<html><body>404 Not Found</body></html>\n"
    if job.defect == "mask_shape":
        mask = mask[:, :, :-1]
    if job.defect == "unknown_label":
        mask = mask.copy()
        middle = tuple(slice(n // 2, n // 2 + 2) for n in mask.shape)
        mask[middle] = UNKNOWN_LABEL
    return mask_file(mask, job.plan, affine)


def _write_around(tree: Path, samples: tuple[PlantedSample, ...], quirks: bool) -> None:
    """Write dataset.json and readme.md."""
    sections: dict[str, list[Any]] = {section: [] for section in _SECTION.values()}
    for sample in samples:
        # nnU-Net leaves _0000 out of dataset.json though the files have it.
        image = "./" + sample.image.replace("_0000.nii.gz", ".nii.gz")
        entries = sections[_SECTION[sample.subset]]
        if sample.mask_name:
            entries.append({"image": image, "label": "./" + sample.mask_name})
        elif quirks and len(entries) % 2:
            entries.append(image)
        else:
            entries.append({"image": image})
    content = {
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
    (tree / "dataset.json").write_text(json.dumps(content, indent=1) + "\n")
    (tree / "readme.md").write_text(
        "# AMOS22 phantom\n\nSynthetic scans; no patient was involved.\n"
        "Scans with an id less than 500 are CT, the others MRI.\n"
    )


def _write_junk(tree: Path, samples: tuple[PlantedSample, ...]) -> tuple[str, ...]:
    """Write what a Mac and an interrupted download leave behind."""
    files = {".DS_Store": b"\0\0\0\1Bud1" + bytes(24), "._dataset.json": _APPLE_DOUBLE}
    files["imagesTr/.DS_Store"] = files[".DS_Store"]
    files["__MACOSX/._imagesTr"] = _APPLE_DOUBLE
    for sample in samples[:2]:
        for name in filter(None, (sample.image, sample.mask_name)):
            folder, file_name = name.split("/")
            files[f"{folder}/._{file_name}"] = _APPLE_DOUBLE
            files[f"__MACOSX/{folder}/._{file_name}"] = _APPLE_DOUBLE
    files["imagesTs/amos_0300.nii.gz.part"] = bytes.fromhex("1f8b0800000000000003") + bytes(90)
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    return tuple(sorted(files))


def _zip_name(name: str, root: str) -> str:
    """Return the name in the zip: a Mac keeps `__MACOSX` beside the folder, not in it."""
    if name.startswith("__MACOSX/"):
        return f"__MACOSX/{root}/{name.removeprefix('__MACOSX/')}"
    return f"{root}/{name}"


def _zip_members(tree: Path, root: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(tree.rglob("*")):
        name = path.relative_to(tree).as_posix()
        if name != "__MACOSX":
            yield _zip_name(name, root), path


def _write_zip(target: Path, tree: Path, root: str) -> None:
    """Zip a tree under `root`, with fixed times; every third file is stored, not deflated."""
    with zipfile.ZipFile(target, "w", compresslevel=1) as archive:
        for number, (name, path) in enumerate(sorted(_zip_members(tree, root))):
            if path.is_dir():
                archive.writestr(zipfile.ZipInfo(f"{name}/", _ZIP_TIME), b"")
                continue
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_STORED if number % 3 == 0 else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w") as member:
                shutil.copyfileobj(source, member, 1 << 20)
