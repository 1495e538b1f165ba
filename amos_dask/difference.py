"""Where two masks differ, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amos_dask.records import LabelChange

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two masks differ, and how; each array has shape (n,)."""

    voxels: NDArray[np.int64]  # positions in file order (x fastest), ascending
    before: NDArray[np.uint8]  # the labels there
    after: NDArray[np.uint8]

    @property
    def changes(self) -> tuple[LabelChange, ...]:
        """How many voxels of which label became which, by label before, then label after."""
        counts = np.bincount(self.before.astype(np.int64) * 256 + self.after)
        pairs = np.flatnonzero(counts)
        return tuple(
            LabelChange(*divmod(int(pair), 256), int(n))
            for pair, n in zip(pairs, counts[pairs], strict=True)
        )

    def of_slice(self, k: int, size: int) -> Difference:
        """Return the part in slice ``k`` across z of so many voxels, counted from its first."""
        part = slice(*np.searchsorted(self.voxels, [k * size, (k + 1) * size]))
        return Difference(self.voxels[part] - k * size, self.before[part], self.after[part])

    def undo(self, after: Mask) -> Mask:
        """Return the mask (or slice) before, given the one after; in any order, not changed."""
        flat = after.ravel(order="F").copy()
        flat[self.voxels] = self.before
        return flat.reshape(after.shape, order="F")


def find_difference(before: Mask, after: Mask) -> Difference:
    """Return where the (x, y, z) mask ``after`` differs from ``before``."""
    flat_before, flat_after = before.ravel(order="F"), after.ravel(order="F")
    changed = _find_differences(flat_before, flat_after)
    return Difference(changed, flat_before[changed], flat_after[changed])


def _find_differences(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return where two flat masks differ; looks at eight voxels at a time, as few differ."""
    n_words = first.size // 8
    words = first[: n_words * 8].view(np.uint64) != second[: n_words * 8].view(np.uint64)
    candidates = np.flatnonzero(words)[:, None] * 8 + np.arange(8)
    tail = np.arange(n_words * 8, first.size)
    candidates = np.concatenate([candidates.ravel(), tail])
    return np.asarray(candidates[first[candidates] != second[candidates]], np.int64)
