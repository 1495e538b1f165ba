"""Components as other libraries find them, each in its fastest way to sizes and centroids.

Every label is covered, background included. Masks come Fortran-ordered; libraries that prefer C
order are given the transposed array, which lies in memory the same way. Only `Peer.find` is
timed. `Peer.rows` puts its result into the common form in which results are compared: a row a
component with label, number of voxels and sums of the indexes x, y, z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from amos_dask.kernels.components import Components, label_components
from benchmarks.scans import Mask, labels_of

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Peer:
    """A library that finds components."""

    name: str
    module: str
    find: Callable[[Mask], Any]
    rows: Callable[[Mask, Any], Rows]


def _rows_ours(mask: Mask, found: Components) -> Rows:
    return np.column_stack([found.label, found.n_voxels, found.coordinate_sums])


def find_scipy(mask: Mask) -> list[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Label each label's binary mask; sizes and centroids by counting with weights."""
    return [_find_one(mask.T, label) for label in labels_of(mask)]


def _find_one(transposed: Mask, label: int) -> tuple[int, NDArray[Any], NDArray[Any]]:
    numbered, n = ndimage.label(transposed == label, structure=np.ones((3, 3, 3)))
    flat = numbered.ravel()
    places = np.flatnonzero(flat)
    ids = flat[places] - 1
    sizes = np.bincount(ids, minlength=n)
    indexes = reversed(np.unravel_index(places, numbered.shape))
    sums = [np.bincount(ids, weights=index, minlength=n) for index in indexes]
    return label, sizes, np.transpose(sums) / sizes[:, None]


def _rows_scipy(mask: Mask, found: list[tuple[int, NDArray[Any], NDArray[Any]]]) -> Rows:
    rows = [_rows(np.full(len(sizes), label), sizes, c) for label, sizes, c in found]
    return np.concatenate(rows)


def find_skimage(mask: Mask) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Label all values at once; one table of regionprops."""
    from skimage.measure import label, regionprops_table

    numbered = label(mask.T, background=255, connectivity=3)
    return numbered, regionprops_table(numbered, properties=("area", "centroid"))


def _rows_skimage(mask: Mask, found: tuple[NDArray[Any], dict[str, NDArray[Any]]]) -> Rows:
    numbered, table = found
    centroids = np.column_stack([table[f"centroid-{axis}"] for axis in (2, 1, 0)])
    return _rows(_label_of_each(numbered, mask.T)[1:], table["area"], centroids)


def find_cc3d(mask: Mask) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Label all values at once, with one added since cc3d leaves 0 out; its own statistics."""
    import cc3d

    numbered = cc3d.connected_components(mask + np.uint8(1), connectivity=26)
    return numbered, cc3d.statistics(numbered, no_slice_conversion=True)


def _rows_cc3d(mask: Mask, found: tuple[NDArray[Any], dict[str, NDArray[Any]]]) -> Rows:
    numbered, statistics = found
    labels = _label_of_each(numbered.T, mask.T)
    return _rows(labels, statistics["voxel_counts"], statistics["centroids"])[1:]


def _label_of_each(numbered: NDArray[Any], mask: Mask) -> NDArray[np.uint8]:
    """Return the label of components 0..n; all voxels of one have the same."""
    labels = np.zeros(int(numbered.max()) + 1, np.uint8)
    labels[numbered.ravel()] = mask.ravel()
    return labels


def _rows(labels: NDArray[Any], sizes: NDArray[Any], centroids: NDArray[Any]) -> Rows:
    sums = np.rint(np.nan_to_num(centroids) * np.asarray(sizes)[:, None])
    return np.column_stack([labels, sizes, sums]).astype(np.int64)


def same_components(ours: Rows, theirs: Rows) -> bool:
    """Tell whether two tables hold the same components, in any order."""
    if len(ours) != len(theirs):
        return False
    ours, theirs = _sorted(ours), _sorted(theirs)
    # A centroid in float32 loses some of the sum of a component of millions of voxels.
    tolerance = ours[:, 1:2] * 0.01
    same_sums = np.abs(ours[:, 2:] - theirs[:, 2:]) <= tolerance
    return bool(np.array_equal(ours[:, :2], theirs[:, :2]) and same_sums.all())


def _sorted(rows: Rows) -> Rows:
    return rows[np.lexsort(rows.T[::-1])]


OURS = Peer("ours", "amos_dask", label_components, _rows_ours)
PEERS = (
    Peer("cc3d", "cc3d", find_cc3d, _rows_cc3d),
    Peer("scipy", "scipy", find_scipy, _rows_scipy),
    Peer("scikit-image", "skimage", find_skimage, _rows_skimage),
)


def installed_peers() -> Iterator[Peer]:
    """Yield the peers whose library is installed (the extra ``bench``)."""
    return (peer for peer in PEERS if find_spec(peer.module) is not None)


def missing_peers() -> list[str]:
    """Return the names of the peers that are not installed."""
    return [peer.name for peer in PEERS if find_spec(peer.module) is None]
