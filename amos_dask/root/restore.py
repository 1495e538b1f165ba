"""What denoising changed, kept so that the undenoised mask can be had back."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amos_dask.difference import Difference, Mask
from amos_dask.root.identity import gzip_trailer
from amos_dask.root.staging import Staging


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
