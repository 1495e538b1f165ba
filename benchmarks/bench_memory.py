"""Memory of one scan by the kind of its values and the labelled share, against the estimate."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.engine.connect import connect
from amos_dask.engine.options import ClusterOptions
from amos_dask.nifti import make_header, write_image
from amos_dask.sample.todo import largest_scan_bytes
from benchmarks.bench_size import _idle_bytes, _on_worker, _peak_bytes, _run_once
from benchmarks.harness import Claim, Report, Table, benchmark
from benchmarks.outputs import archive_task, fresh_root, samples_of
from benchmarks.scans import CT_SPACING_MM, Mask, Shape
from benchmarks.settings import Settings

SHAPES: tuple[Shape, ...] = ((256, 256, 120), (512, 512, 120))
_TINY_SHAPES: tuple[Shape, ...] = ((24, 20, 8),)
SHARES = (0.15, 0.5, 1.0)
_N_LABELS = 15
_MORE_A_LABELLED_VOXEL = 8.0
_NOTE = (
    "One scan with statistics and pictures, in a worker process started for it; 'above idle' is "
    "its peak less its size before. 'more a labelled voxel' is what it takes beyond an int16 scan "
    "of the same shape and mask; 'estimate' is what the check before a run asks for."
)


def _int16(values: NDArray[np.float32]) -> NDArray[np.int16]:
    return values.astype(np.int16)


KINDS = {
    "int16": _int16,
    "float32, whole": lambda values: np.rint(values),
    "float32, not whole": lambda values: values,
    "float32, few values": lambda values: np.rint(values * 2) / 2,
    "float32, not finite": lambda values: np.full_like(values, np.nan),
}


@benchmark("memory")
def bench_memory(settings: Settings) -> Report:
    """Process a scan of each kind of values, with more and less of it labelled."""
    rows = []
    for shape in _TINY_SHAPES if settings.tiny else SHAPES:
        for share in SHARES[:1] if settings.tiny else SHARES:
            rows += _of_mask(settings, shape, share)
    return Report([Table("One scan, by its values and mask", rows, _NOTE)], _claims(rows))


def _of_mask(settings: Settings, shape: Shape, share: float) -> list[dict[str, Any]]:
    mask = _labelled(shape, share)
    n_labelled = int(np.count_nonzero(mask))
    rows, of_int16 = [], 0
    for kind in list(KINDS)[: 2 if settings.tiny else None]:  # each starts a worker
        archive = _archive(settings, kind, shape, mask)
        idle, peak, estimate = _measure(settings, archive)
        of_int16 = of_int16 or peak - idle
        rows.append(
            {
                "shape": "x".join(map(str, shape)),
                "labelled": share,
                "values": kind,
                "idle MB": idle / 1e6,
                "above idle MB": (peak - idle) / 1e6,
                "bytes a voxel": (peak - idle) / math.prod(shape),
                "more a labelled voxel": (peak - idle - of_int16) / n_labelled,
                "estimate MB": estimate / 1e6,
                "peak / estimate": peak / estimate,
            }
        )
        shutil.rmtree(archive)
    return rows


def _measure(settings: Settings, archive: Path) -> tuple[int, int, int]:
    """Return the size of an idle worker, its peak, and the estimate."""
    (sample,) = samples_of(archive)
    root = fresh_root(settings, "memory")
    task = replace(archive_task(sample, root.path), count_values=True, take_pictures=True)
    options = ClusterOptions(
        workers=1, dashboard_port=0, local_directory=str(settings.work), memory="0"
    )
    with connect(options) as client:
        idle = _on_worker(client, _idle_bytes)
        _run_once(client, task, root)
        peak = _on_worker(client, _peak_bytes)
    shutil.rmtree(root.path, ignore_errors=True)
    return idle, peak, largest_scan_bytes([sample])


def _labelled(shape: Shape, share: float) -> Mask:
    """Return a mask of which a share is labelled: slabs of 15 labels in a box, with specks."""
    mask = np.zeros(shape, np.uint8, order="F")
    depth = max(1, round(share * shape[2]))
    for label in range(1, _N_LABELS + 1):
        start, end = ((label - i) * shape[0] // _N_LABELS for i in (1, 0))
        mask[start:end, :, :depth] = label
    mask[1::9, 1::9, :depth] = 3
    return mask


def _archive(settings: Settings, kind: str, shape: Shape, mask: Mask) -> Path:
    """Write a scan of noise and its mask as the only ones of an archive."""
    rng = np.random.default_rng(5)
    values = np.empty(shape, np.float32, order="F")
    for k in range(shape[2]):
        values[:, :, k] = 50 + 300 * rng.standard_normal(shape[:2], np.float32)
    archive = settings.work / "memory-archive"
    shutil.rmtree(archive, ignore_errors=True)
    header = partial(make_header, affine=np.diag([*CT_SPACING_MM, 1.0]), affine_code=1)
    for folder, array in (("imagesTr", KINDS[kind](values)), ("labelsTr", mask)):
        (archive / folder).mkdir(parents=True)
        path = archive / folder / "amos_0001.nii.gz"
        write_image(path, header(shape, array.dtype), np.asfortranarray(array))
    return archive


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    largest = max(rows, key=lambda row: row["more a labelled voxel"])
    tightest = max(rows, key=lambda row: row["peak / estimate"])
    return [
        Claim(
            "bytes a labelled voxel beyond what int16 takes, at most",
            largest["more a labelled voxel"],
            _MORE_A_LABELLED_VOXEL,
            at_most=True,
            note=f"{largest['shape']}, {largest['labelled']:.0%}, {largest['values']}",
        ),
        Claim(
            "peak of the worker over the estimate, at most",
            tightest["peak / estimate"],
            1.0,
            at_most=True,
            note=f"{tightest['shape']}, {tightest['labelled']:.0%}, {tightest['values']}",
        ),
    ]
