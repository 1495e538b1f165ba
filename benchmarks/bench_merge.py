"""One binary mask a label merged into one, as of a scan with 117 of them: ours, bounds, nibabel."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from amos_dask.file_refs import FileRef, file_ref
from amos_dask.nifti import ImageInfo, mask_header, open_image, read_info, write_labels, write_mask
from amos_dask.records import Overlap
from amos_dask.steps.mask_labels import MaskMerger
from benchmarks.harness import (
    Claim,
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    timing_rows,
)
from benchmarks.scans import TINY_SHAPE, Mask, Shape
from benchmarks.settings import Settings

_SHAPE: Shape = (300, 250, 300)
_AFFINE = np.diag([1.5, 1.5, 1.5, 1.0])
_N_LABELS = 117
FLOOR = "reading and writing alone"

Bits = NDArray[np.bool_]
Found = tuple[Mask, tuple[Overlap, ...] | None]  # the merged mask, and what masks share if known


@benchmark("merge")
def bench_merge(settings: Settings) -> Report:
    """Time merging and writing, with every overlap counted."""
    folder = _masks(settings)
    paths = {int(path.name[:3]): path for path in sorted(folder.glob("*.nii.gz"))}
    refs = {label: file_ref(path, path.name) for label, path in paths.items()}
    written = settings.work / "merged"
    written.mkdir(exist_ok=True)
    result = _merge(refs, written)
    ours = {
        "ours": Side(partial(_merge, refs, written)),
        FLOOR: Side(partial(_floor, refs, written, result[0]), peer=False),
    }
    loop = partial(_loop, paths, written)
    peers = {
        "nibabel, dataobj": Side(partial(loop, _dataobj), max_runs=3),
        "nibabel, get_fdata": Side(partial(loop, _get_fdata), max_runs=1),
        "nibabel, every two compared": Side(partial(_compare_all, paths, written), max_runs=1),
    }
    binary = {
        "ours": Side(partial(_merge, refs, written, binary=True)),
        FLOOR: Side(partial(_floor, refs, written, result[0], binary=True), peer=False),
    }
    found = {
        "mask": compare(ours | peers, settings.repeats, _same),
        "mask and binary masks": compare(binary, settings.repeats, _same),
    }
    shutil.rmtree(written)
    n_overlaps = len(result[1] or ())
    rows = [
        row for case, each in found.items() for row in timing_rows(case, each, overlaps=n_overlaps)
    ]
    note = (
        f"{len(paths)} masks of {'x'.join(map(str, result[0].shape))}, "
        f"{sum(path.stat().st_size for path in paths.values()) / 1e6:.1f} MB as nibabel packs "
        f"them; labels on {np.count_nonzero(result[0]) / result[0].size:.0%} of the voxels. "
        "The loops over nibabel know of no overlap, but for the last, which holds all in memory."
    )
    claims = [
        Claim(f"{case}: CPU over that of {FLOOR}", _over_floor(each), 1.3, at_most=True)
        for case, each in found.items()
    ]
    return Report([Table("A mask a label merged into one, and written", rows, note)], claims)


def _over_floor(found: Comparison) -> float:
    return 1 / statistics.median(found[FLOOR].cpu_ratios)


def _masks(settings: Settings) -> Path:
    """Return a folder of masks such as ``001.nii.gz``, kept between runs."""
    folder = settings.work / f"masks-{'tiny' if settings.tiny else 'full'}"
    if not folder.exists():
        staging = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for label, bits in _organs(TINY_SHAPE if settings.tiny else _SHAPE):
            image = nib.Nifti1Image(bits.astype(np.uint8), _AFFINE)
            nib.save(image, staging / f"{label:03d}.nii.gz")
        staging.rename(folder)
    return folder


def _organs(shape: Shape) -> Iterator[tuple[int, Bits]]:
    """Yield label and voxels of uneven bodies that share a thin shell with their neighbours."""
    rng = np.random.default_rng(5)
    sizes = np.array(shape)
    free = np.ones(shape, np.bool_, order="F")
    for label in range(1, _N_LABELS + 1):
        radius = min(shape) * rng.lognormal(np.log(0.07), 0.5) * rng.uniform(0.6, 1.6, 3)
        centre = sizes * rng.uniform(0.2, 0.8, 3)
        low = np.clip(centre - 1.2 * radius, 0, sizes - 1).astype(int)
        high = np.clip(centre + 1.2 * radius + 1, 1, sizes).astype(int)
        box = tuple(map(slice, low, high))
        x, y, z = np.ogrid[box]
        waves = np.sin(x / 3.1) + np.sin(y / 4.3 + x / 9) + np.sin(z / 3.7 + y / 7)
        steps = ((axis - c) / r for axis, c, r in zip((x, y, z), centre, radius, strict=True))
        distance = sum(step**2 for step in steps) + 0.06 * waves
        bits = np.zeros(shape, np.bool_, order="F")
        bits[box] = (distance < 1) & (free[box] | (distance > 0.85))
        free &= ~bits
        yield label, bits


def _merge(refs: Mapping[int, FileRef], written: Path, *, binary: bool = False) -> Found:
    info = read_info(next(iter(refs.values())))
    merger = MaskMerger(info.shape)
    for label, ref in refs.items():
        with open_image(ref) as image:
            merger.add(label, image)
    merged = merger.merged(list(refs))
    _write(written, info, merged.labels, refs if binary else ())
    return merged.labels, merged.overlaps


def _floor(refs: Mapping[int, FileRef], written: Path, mask: Mask, *, binary: bool = False) -> None:
    for ref in refs.values():
        with open_image(ref) as image:
            for _ in image.chunks():
                pass
    _write(written, image.info, mask, refs if binary else ())


def _write(written: Path, info: ImageInfo, mask: Mask, labels: Iterable[int]) -> None:
    """Write the mask, and a binary mask of each of some labels."""
    write_mask(written / "mask.nii.gz", info, mask)
    paths = {i: written / f"{i:03d}.nii.gz" for i in labels}
    write_labels(paths, mask_header(info), mask)


def _dataobj(image: Any) -> NDArray[Any]:
    return np.asanyarray(image.dataobj)


def _get_fdata(image: Any) -> NDArray[Any]:
    voxels: NDArray[Any] = image.get_fdata()
    return voxels


def _loop(paths: Mapping[int, Path], written: Path, read: Callable[[Any], NDArray[Any]]) -> Found:
    """Merge as scripts do, a mask after the other."""
    first = nib.load(next(iter(paths.values())))
    merged = np.zeros(first.shape, np.uint8)
    for label, path in paths.items():
        merged[read(nib.load(path)) > 0] = label
    nib.save(nib.Nifti1Image(merged, first.affine), written / "mask.nii.gz")
    return merged, None


def _compare_all(paths: Mapping[int, Path], written: Path) -> Found:
    """Merge, and look for overlaps as scripts do."""
    merged, _ = _loop(paths, written, _dataobj)
    masks: dict[int, Bits] = {i: _dataobj(nib.load(path)) > 0 for i, path in paths.items()}
    shared = ((i, j, int(np.count_nonzero(masks[i] & masks[j]))) for i, j in combinations(masks, 2))
    return merged, tuple(Overlap(*pair) for pair in shared if pair[2])


def _same(ours: Found, theirs: Found) -> bool:
    return np.array_equal(ours[0], theirs[0]) and theirs[1] in (None, ours[1])
