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
        self, staging: Staging, sample_id: str, mask_file: Path, before: Mask, after: Mask
    ) -> tuple[Path, tuple[LabelChange, ...]]:
        """Stage the labels of ``before`` where the (x, y, z) mask ``after`` differs.

        Parameters
        ----------
        staging : Staging
            Publishes the data together with the mask.
        sample_id : str
            The sample.
        mask_file : Path
            The written file of ``after``, under its temporary name.
        before, after : (x, y, z) uint8
            The mask as it was and as it was denoised.

        Returns
        -------
        path : Path
            The final name of the restore data.
        changes : tuple of LabelChange
            How many voxels of which label became which, by label before, then label after.
        """
        flat_before, flat_after = before.ravel(order="F"), after.ravel(order="F")
        changed = _find_differences(flat_before, flat_after)
        labels = np.stack([flat_before[changed], flat_after[changed]])
        content = io.BytesIO()
        np.savez_compressed(content, voxels=changed, labels=labels)
        path = self.path_for(sample_id, mask_file)
        staging.path_for(path).write_bytes(content.getvalue())
        return path, _count_changes(*labels)

    def path_for(self, sample_id: str, mask_file: Path) -> Path:
        """Return where the restore data of a mask file is kept."""
        return self.folder / f"{sample_id}-{gzip_trailer(mask_file)}.npz"

    def restore(self, sample_id: str, mask_file: Path, denoised: Mask) -> Mask | None:
        """Return the undenoised mask, or None where nothing is kept for this file."""
        try:
            data = io.BytesIO(self.path_for(sample_id, mask_file).read_bytes())
            with np.load(data, allow_pickle=False) as content:
                voxels, (labels, _) = content["voxels"], content["labels"]
            flat = denoised.ravel(order="F").copy()
            flat[voxels] = labels
        except Exception:  # numpy and zipfile raise many kinds for a damaged file
            return None
        return flat.reshape(denoised.shape, order="F")

    def changes(self, sample_id: str, mask_file: Path) -> tuple[LabelChange, ...] | None:
        """Return what denoising changed, or None where nothing is kept for this file.

        Does not read the mask.
        """
        try:
            data = io.BytesIO(self.path_for(sample_id, mask_file).read_bytes())
            with np.load(data, allow_pickle=False) as content:
                return _count_changes(*content["labels"])
        except Exception:  # as above
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


def _count_changes(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[LabelChange, ...]:
    """Count the pairs of label before and label after, in this order."""
    counts = np.bincount(before.astype(np.int64) * 256 + after)
    pairs = np.flatnonzero(counts)
    return tuple(
        LabelChange(*divmod(int(pair), 256), int(n))
        for pair, n in zip(pairs, counts[pairs], strict=True)
    )
