"""Components as other libraries find them, each in its fastest way to the same result.

The result is a table with a row a component: label, number of voxels, centroid x, y, z; every
label is covered, background included. Masks come Fortran-ordered; libraries that prefer C order
are given the transposed array, which lies in memory the same way, and the columns are put right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from amos_dask.kernels import label_components
from benchmarks.scans import Mask, labels_of

Rows = NDArray[np.float64]


def components_ours(mask: Mask) -> Rows:
    """Use our kernel."""
    found = label_components(mask)
    centroids = found.coordinate_sums / found.n_voxels[:, None]
    return np.column_stack([found.label, found.n_voxels, centroids])


def components_scipy(mask: Mask) -> Rows:
    """Label each label's binary mask; sizes and centroids by counting with weights."""
    transposed = mask.T
    return np.concatenate([_of_label(transposed, label) for label in labels_of(mask)])


def _of_label(transposed: Mask, label: int) -> Rows:
    numbered, n = ndimage.label(transposed == label, structure=np.ones((3, 3, 3)))
    flat = numbered.ravel()
    places = np.flatnonzero(flat)
    ids = flat[places] - 1
    sizes = np.bincount(ids, minlength=n)
    indexes = reversed(np.unravel_index(places, numbered.shape))
    sums = [np.bincount(ids, weights=index, minlength=n) for index in indexes]
    return np.column_stack([np.full(n, label), sizes, np.transpose(sums) / sizes[:, None]])


def components_skimage(mask: Mask) -> Rows:
    """Label all values at once; one pass of regionprops."""
    from skimage.measure import label, regionprops_table

    transposed = mask.T
    numbered, n = label(transposed, background=255, return_num=True, connectivity=3)
    table = regionprops_table(numbered, properties=("area", "centroid"))
    return np.column_stack(
        [
            _label_of_each(numbered, transposed, n)[1:],
            table["area"],
            table["centroid-2"],
            table["centroid-1"],
            table["centroid-0"],
        ]
    )


def components_cc3d(mask: Mask) -> Rows:
    """Label all values at once, with one added since cc3d leaves 0 out; its own statistics."""
    import cc3d

    numbered, n = cc3d.connected_components(mask + np.uint8(1), connectivity=26, return_N=True)
    statistics = cc3d.statistics(numbered, no_slice_conversion=True)
    labels = _label_of_each(numbered.T, mask.T, n)
    return np.column_stack([labels, statistics["voxel_counts"], statistics["centroids"]])[1:]


def _label_of_each(numbered: NDArray[np.integer], mask: Mask, n: int) -> NDArray[np.uint8]:
    """Return the label of components 0..n; all voxels of one have the same."""
    labels = np.zeros(n + 1, np.uint8)
    labels[numbered.ravel()] = mask.ravel()
    return labels


def same_components(ours: Rows, theirs: Rows) -> bool:
    """Tell whether two tables hold the same components, in any order."""
    if len(ours) != len(theirs):
        return False
    return bool(np.allclose(_sorted(ours), _sorted(theirs), rtol=0, atol=0.01))


def _sorted(rows: Rows) -> Rows:
    # Voxel sums are whole numbers, whatever precision a centroid was computed in.
    sums = np.rint(rows[:, 2:] * rows[:, 1:2])
    order = np.lexsort((*sums.T, rows[:, 1], rows[:, 0]))
    return rows[order]


PEERS: dict[str, tuple[str, Callable[[Mask], Rows]]] = {
    "cc3d": ("cc3d", components_cc3d),
    "scipy": ("scipy", components_scipy),
    "scikit-image": ("skimage", components_skimage),
}


def installed_peers() -> Iterator[tuple[str, Callable[[Mask], Rows]]]:
    """Yield the peers whose library is installed (the extra ``bench``)."""
    for name, (module, function) in PEERS.items():
        if find_spec(module) is not None:
            yield name, function


def missing_peers() -> list[str]:
    """Return the names of the peers that are not installed."""
    return [name for name, (module, _) in PEERS.items() if find_spec(module) is None]
