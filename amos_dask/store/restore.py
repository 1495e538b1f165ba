"""What denoising changed, kept so that the undenoised mask can be had back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amos_dask.records import LabelChange
from amos_dask.store.identity import gzip_trailer
from amos_dask.store.staging import Staging

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two masks differ, and how.

    Parameters
    ----------
    voxels : (n,) int64
        Positions in file order (x fastest), ascending.
    before, after : (n,) uint8
        The labels there.
    """

    voxels: NDArray[np.int64]
    before: NDArray[np.uint8]
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

    def undo(self, after: Mask) -> Mask:
        """Return the (x, y, z) mask before, given the one after."""
        flat = after.ravel(order="F").copy()
        flat[self.voxels] = self.before
        return flat.reshape(after.shape, order="F")


def find_difference(before: Mask, after: Mask) -> Difference:
    """Return where the (x, y, z) mask ``after`` differs from ``before``."""
    flat_before, flat_after = before.ravel(order="F"), after.ravel(order="F")
    changed = _find_differences(flat_before, flat_after)
    return Difference(changed, flat_before[changed], flat_after[changed])


@dataclass(frozen=True)
class RestoreData:
    """The folder of restore data, one small file for each denoised mask.

    A file is named after the sample and the gzip trailer of the denoised mask (checksum and
    length of header and voxels), so that data never meets a mask it does not belong to.

    Parameters
    ----------
    folder : Path
        ``.amos-dask/restore`` under ROOT_DIR.
    """

    folder: Path

    def stage(
        self, staging: Staging, sample_id: str, mask_file: Path, difference: Difference
    ) -> Path:
        """Stage what is needed to undo denoising; return its final name.

        Parameters
        ----------
        staging : Staging
            Publishes the data together with the mask.
        sample_id : str
            The sample.
        mask_file : Path
            The written file of the denoised mask, under its temporary name.
        difference : Difference
            Of the mask as it was and as it was denoised.
        """
        labels = np.stack([difference.before, difference.after])
        content = io.BytesIO()
        np.savez_compressed(content, voxels=difference.voxels, labels=labels)
        path = self.path_for(sample_id, mask_file)
        staging.path_for(path).write_bytes(content.getvalue())
        return path

    def path_for(self, sample_id: str, mask_file: Path) -> Path:
        """Return where the restore data of a mask file is kept."""
        return self.folder / f"{sample_id}-{gzip_trailer(mask_file)}.npz"

    def read(self, sample_id: str, mask_file: Path) -> Difference | None:
        """Return what denoising changed, or None where nothing is kept for this file.

        Does not read the mask.
        """
        try:
            data = io.BytesIO(self.path_for(sample_id, mask_file).read_bytes())
            with np.load(data, allow_pickle=False) as content:
                voxels, (before, after) = content["voxels"], content["labels"]
                if voxels.dtype != np.int64 or before.dtype != np.uint8:
                    return None
                return Difference(voxels, before, after)
        except Exception:  # numpy and zipfile raise many kinds for a damaged file
            return None

    def restore(self, sample_id: str, mask_file: Path, denoised: Mask) -> Mask | None:
        """Return the undenoised mask, or None where nothing is kept for this file."""
        difference = self.read(sample_id, mask_file)
        if difference is None:
            return None
        try:
            return difference.undo(denoised)
        except (IndexError, ValueError):  # damaged, or of a mask of another shape
            return None

    def forget_others(self, sample_id: str, keep: Path | None) -> None:
        """Remove the sample's restore data except one file."""
        for path in self.folder.glob(f"{sample_id}-*.npz"):
            if path != keep:
                path.unlink(missing_ok=True)


def _find_differences(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return where two flat masks differ; looks at eight voxels at a time, as few differ."""
    n_words = first.size // 8
    words = first[: n_words * 8].view(np.uint64) != second[: n_words * 8].view(np.uint64)
    candidates = np.flatnonzero(words)[:, None] * 8 + np.arange(8)
    tail = np.arange(n_words * 8, first.size)
    candidates = np.concatenate([candidates.ravel(), tail])
    return np.asarray(candidates[first[candidates] != second[candidates]], np.int64)
