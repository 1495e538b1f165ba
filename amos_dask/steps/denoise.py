"""Small regions of a mask listed, and denoised slice by slice; the mark that says it was done."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from amos_dask.issues import Issue, make_issue
from amos_dask.kernels.components import label_components
from amos_dask.kernels.slice_denoise import denoise_slices
from amos_dask.labels import BACKGROUND, LabelMap
from amos_dask.nifti import Mask
from amos_dask.params import EVERY_LABEL, DenoiseParams
from amos_dask.records import LabelChange, Region, Regions

# Raised when the result for the same input and parameters changes.
RESULT_VERSION = 1
REGIONS_VERSION = 1  # of the regions that are listed
_MARK = re.compile(r"amos-dask denoise v\d+ .*")
_LONGEST_MARK = 79


def denoising_mark(params: DenoiseParams, excluded: frozenset[int] = frozenset()) -> str:
    """Return the NIfTI ``descrip`` of a mask that was denoised but for some labels.

    At most 79 characters, others for other parameters or labels; a checksum stands for what is
    too long. Empty where every label is excluded: such a mask is not denoised.
    """
    if excluded >= EVERY_LABEL:
        return ""
    kx, ky = params.kernel_size
    step = f"amos-dask denoise v{RESULT_VERSION}"
    mark = f"{step} kernel={kx}x{ky} halfedge={params.filter_halfedge}"
    mark += f" mm2={float(params.region_area_thresh)!r}"
    if not excluded:
        return mark
    labels = ",".join(map(str, sorted(excluded)))
    spelled = f"{mark} not={labels}"
    checksum = hashlib.sha256(spelled.encode()).hexdigest()
    shorter = (spelled, f"{mark} not=#{checksum[:12]}", f"{step} #{checksum[:32]}")
    return next(text for text in shorter if len(text) <= _LONGEST_MARK)


def is_denoised(description: str) -> bool:
    """Return whether a ``descrip`` says that its mask was denoised, with any parameters."""
    return _MARK.fullmatch(description) is not None


def denoise_mask(
    mask: Mask,
    spacing_mm: tuple[float, float, float],
    params: DenoiseParams,
    excluded: frozenset[int] = frozenset(),
) -> Mask:
    """Return the denoised mask; the definition is in `amos_dask.kernels.slice_denoise`.

    Parameters
    ----------
    mask : (x, y, z) uint8
        Multi-label mask whose labels are all in the label map; not changed.
    spacing_mm : (float, float, float)
        Voxel size along x, y, z in mm.
    params : DenoiseParams
        Kernel (pixels), voting box, and area (mm2) below which slice regions are small.
    excluded : frozenset of int
        Labels left as they are, see `undo_labels`; with every label the mask itself is returned.
    """
    if excluded >= EVERY_LABEL:
        return mask
    how = params.region_area_thresh, params.kernel_size, params.filter_halfedge
    return undo_labels(mask, denoise_slices(mask, spacing_mm[:2], *how), excluded)


def check_vanished(
    changes: Iterable[LabelChange],
    present: Collection[int],
    spacing_mm: tuple[float, float, float],
    label_map: LabelMap,
    sample_id: str,
    file: str,
) -> list[Issue]:
    """Return ``label_vanished`` for each label that denoising left no voxel of, and ``empty_mask``.

    Parameters
    ----------
    changes : iterable of LabelChange
        What denoising changed; of a label that is gone, that is all of it.
    present : collection of int
        Labels of the denoised mask.
    spacing_mm, label_map, sample_id, file
        The mask's voxel size along x, y, z, names of labels, and what the issues name.
    """
    n_voxels = Counter[int]()
    for label, _, n in changes:
        if label != BACKGROUND and label not in present:
            n_voxels[label] += n
    of = partial(make_issue, sample=sample_id, file=file)
    (sx, sy, sz), names, issues = spacing_mm, label_map.names(), list[Issue]()
    for label, n in sorted(n_voxels.items()):
        name, volume_mm3 = names.get(label, "?"), n * sx * sy * sz
        message = f"denoising took away all {volume_mm3:.2f} mm3 of label {label} ({name})"
        action = "written without it; exclude the label from denoising to keep it"
        issues.append(of("label_vanished", message, action=action))
    if issues and not any(present):
        issues.append(of("empty_mask", "the mask holds background only"))
    return issues


def undo_labels(before: Mask, after: Mask, labels: frozenset[int]) -> Mask:
    """Return the denoised mask with some labels as they were before.

    A voxel whose label before or after denoising is one of ``labels`` gets its label before back,
    every other voxel keeps its label after. So the voxels of such a label are exactly those that
    it had before, and with every label the mask is as before.

    Parameters
    ----------
    before, after : (x, y, z) uint8
        The mask before and after denoising; not changed.
    labels : frozenset of int
        The excluded labels.
    """
    if not labels:
        return after
    is_excluded = np.zeros(256, np.bool_)
    is_excluded[list(labels)] = True
    old, new = before.ravel(order="F"), after.ravel(order="F")
    changed = np.flatnonzero(old != new)
    undone = changed[is_excluded[old[changed]] | is_excluded[new[changed]]]
    result = new.copy()
    result[undone] = old[undone]
    return result.reshape(after.shape, order="F")


def find_small_regions(
    mask: Mask,
    spacing_mm: tuple[float, float, float],
    thresholds_mm3: Sequence[float],
    label_map: LabelMap,
) -> Regions:
    """Find the regions strictly below each volume threshold, all in one pass over the mask.

    Parameters
    ----------
    mask : (x, y, z) uint8
        Multi-label mask. Regions are 26-connected, of every label of the map, background too.
    spacing_mm : (float, float, float)
        Voxel size along x, y, z in mm.
    thresholds_mm3 : sequence of float
        Volume thresholds in mm3.
    label_map : LabelMap
        Labels outside it are left aside.

    Returns
    -------
    Regions
        For each threshold its regions by label, then by first voxel in C order.
    """
    components = label_components(mask)
    sx, sy, sz = spacing_mm
    volume_mm3 = components.n_voxels * sx * sy * sz
    known = np.isin(components.label, list(label_map))
    by_label = np.argsort(components.label, kind="stable")
    found = []
    for threshold in thresholds_mm3:
        small = by_label[(known & (volume_mm3 < threshold))[by_label]]
        centroids = round_half_even(components.coordinate_sums[small], components.n_voxels[small])
        sizes = components.n_voxels[small], volume_mm3[small]
        columns = (components.label[small], *centroids.T, *sizes)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        found.append((float(threshold), tuple(Region(*row) for row in rows)))
    return tuple(found)


def round_half_even(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n, 3) ``sums`` of at least 0 by (n,) ``counts``, exactly rounded half to even."""
    # A mean that is no half is further from one than float64 rounds sums below 2 ** 52.
    return np.rint(sums / counts[:, None]).astype(np.int64)
