"""Data of the benchmarks: phantom masks, worst cases, archives. Archives are kept between runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amos_dask.phantom import METADATA_NAME, write_archive
from amos_dask.phantom.painting import Scan, make_scan, plant_specks
from amos_dask.phantom.planted import PLAIN, nifti_pair
from benchmarks.settings import Settings

Mask = NDArray[np.uint8]
Shape = tuple[int, int, int]

CT_SHAPE: Shape = (512, 512, 90)
MR_SHAPE: Shape = (320, 260, 72)
TINY_SHAPE: Shape = (40, 34, 8)
CT_SPACING_MM = (0.705078, 0.705078, 5.0)
MR_SPACING_MM = (1.1875, 1.1875, 5.5)
N_LABELS = 17


def ct_scan(settings: Settings, *, noisy: bool = False) -> Scan:
    """Return a CT of 512x512x90; noisy: with some twenty times as many islands and pinholes."""
    shape = TINY_SHAPE if settings.tiny else CT_SHAPE
    scan = make_scan("ct", shape, CT_SPACING_MM, seed=1, sex="F")
    if noisy:
        plant_specks(scan.mask, scan.spacing_mm, np.random.default_rng(1), times=19)
    return scan


def mr_scan(settings: Settings) -> Scan:
    """Return an MR of 320x260x72."""
    return make_scan("mri", TINY_SHAPE if settings.tiny else MR_SHAPE, MR_SPACING_MM, seed=2)


def checkerboard(shape: Shape) -> Mask:
    """Return labels 0 and 1 in turns along every axis: each run is one voxel long."""
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.asfortranarray(((x + y + z) % 2).astype(np.uint8))


def random_labels(shape: Shape, n_labels: int) -> Mask:
    """Return a label drawn for every voxel: 2 give two huge sponges, 17 give millions of crumbs."""
    rng = np.random.default_rng(3)
    return np.asfortranarray(rng.integers(0, n_labels, shape, dtype=np.uint8))


def mixed_archive(settings: Settings, form: str = "folder") -> Path:
    """Return the archive S: three labelled CT, one test CT, one labelled MR."""
    size = "small" if settings.tiny else "full"
    parent = settings.work / f"S-{size}-{form}"
    path = parent / ("amos22" if form == "folder" else "amos22.zip")
    if not path.exists():
        shutil.rmtree(parent, ignore_errors=True)
        write_archive(parent, n_ct=4, n_mri=1, size=size, quirks=False, form=form)
    return path


def ct_archive(settings: Settings, n_scans: int) -> Path:
    """Return an archive of labelled CT, which are the three of `mixed_archive` again and again."""
    source = mixed_archive(settings)
    scans = sorted(path for path in (source / "labelsTr").iterdir() if "amos_05" not in path.name)
    scans += sorted((source / "labelsVa").iterdir())
    target = settings.work / f"CT-{'tiny' if settings.tiny else 'full'}-{n_scans}"
    if not target.exists():
        staging = target.with_name(f"{target.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        for i in range(n_scans):
            _link_pair(scans[i % len(scans)], staging, i + 1)
        shutil.copyfile(source / METADATA_NAME, staging / METADATA_NAME)
        staging.rename(target)
    return target


def noisy_ct_archive(settings: Settings) -> Path:
    """Return an archive of one labelled CT with some twenty times as many specks."""
    target = settings.work / f"CT-{'tiny' if settings.tiny else 'full'}-noisy"
    if not target.exists():
        staging = target.with_name(f"{target.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        write_pair(ct_scan(settings, noisy=True), staging)
        staging.rename(target)
    return target


def _link_pair(mask: Path, target: Path, number: int) -> None:
    volume = mask.parent.with_name(mask.parent.name.replace("labels", "images")) / mask.name
    for path, folder in ((volume, "imagesTr"), (mask, "labelsTr")):
        (target / folder).mkdir(parents=True, exist_ok=True)
        os.link(path, target / folder / f"amos_{number:04d}.nii.gz")


def sized_archive(settings: Settings, shape: Shape) -> Path:
    """Return an archive of one labelled CT of a given shape."""
    target = settings.work / f"CT-{'x'.join(map(str, shape))}"
    if not target.exists():
        staging = target.with_name(f"{target.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        write_pair(make_scan("ct", shape, CT_SPACING_MM, seed=4), staging)
        staging.rename(target)
    return target


def write_pair(scan: Scan, archive: Path) -> tuple[Path, Path]:
    """Write a scan as amos_0001 of an archive without metadata; return volume and mask."""
    content = dict(zip(("images", "labels"), nifti_pair(scan, PLAIN, np.zeros(3)), strict=True))
    paths = []
    for kind, data in content.items():
        (archive / f"{kind}Tr").mkdir(parents=True, exist_ok=True)
        paths.append(archive / f"{kind}Tr" / "amos_0001.nii.gz")
        paths[-1].write_bytes(data)
    return paths[0], paths[1]


def labels_of(mask: Mask) -> Sequence[int]:
    """Return the labels of the label map, absent ones included, as the tutorial goes through."""
    return range(max(N_LABELS, int(mask.max()) + 1))
