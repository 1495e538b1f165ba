"""What is kept beside a sample's receipt: what undoes denoising, counted values, pictures."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.difference import Difference, Mask
from amos_dask.root.identity import gzip_trailer
from amos_dask.root.staging import Staging

Arrays = Mapping[str, NDArray[Any]]
_VOLUME = "volume"
_DIFFERENCE = ("voxels", "labels")
_LEVEL = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


@dataclass(frozen=True)
class KeptFiles:
    """The folder of kept files, an ``.npz`` for each mask.

    A file is named after the sample and the gzip trailer of the mask (checksum and length of
    header and voxels), so that its content never meets a mask it does not belong to.

    Parameters
    ----------
    folder : Path
        ``.amos-dask/restore`` under ROOT_DIR.
    """

    folder: Path

    def path_for(self, sample_id: str, mask_file: Path) -> Path:
        """Return where the arrays of a mask file are kept."""
        return self.folder / f"{sample_id}-{gzip_trailer(mask_file)}.npz"

    def of_sample(self, sample_id: str) -> list[Path]:
        """Return the kept files of all masks of a sample."""
        return sorted(self.folder.glob(f"{sample_id}-*.npz"))

    def stage(
        self,
        staging: Staging,
        sample_id: str,
        mask_file: Path,
        difference: Difference | None,
        of_volume: Arrays | None = None,
        volume_file: Path | None = None,
    ) -> Path | None:
        """Stage what is to be kept of a mask; return its final name, or None for nothing.

        Parameters
        ----------
        staging : Staging
            Publishes it together with the mask.
        sample_id : str
            The sample.
        mask_file : Path
            The written file of the mask, under its temporary name.
        difference : Difference or None
            Of the mask as it was and as it was denoised.
        of_volume : mapping of str to array, optional
            What was found by looking at the volume under the mask.
        volume_file : Path, optional
            The written file of that volume, under its temporary name.
        """
        arrays = {} if difference is None else _of_difference(difference)
        if of_volume and volume_file is not None:
            arrays |= {**of_volume, _VOLUME: _trailer(volume_file)}
        if not arrays:
            return None
        path = self.path_for(sample_id, mask_file)
        staging.path_for(path).write_bytes(_pack(arrays))
        return path

    def add(
        self, staging: Staging, sample_id: str, mask: Path, volume: Path, of_volume: Arrays
    ) -> Path:
        """Stage a mask's kept file with arrays of its volume more; return its final name."""
        known = self.read(sample_id, mask, None)
        if not np.array_equal(known.get(_VOLUME, ()), _trailer(volume)):
            known = {name: known[name] for name in _DIFFERENCE if name in known}
        path = self.path_for(sample_id, mask)
        staging.path_for(path).write_bytes(_pack({**known, **of_volume, _VOLUME: _trailer(volume)}))
        return path

    def read_of_volume(
        self, sample_id: str, mask: Path, volume: Path, names: Collection[str]
    ) -> Arrays | None:
        """Return arrays that were found by looking at just this volume; None without all of them.

        Raises
        ------
        OSError
            When the mask or the volume is gone.
        """
        found = self.read(sample_id, mask, {*names, _VOLUME})
        if not np.array_equal(found.get(_VOLUME, ()), _trailer(volume)):
            return None
        return found if all(name in found for name in names) else None

    def read_difference(self, sample_id: str, mask_file: Path) -> Difference | None:
        """Return what denoising changed, or None where nothing is kept for this mask.

        Does not read the mask.
        """
        try:
            found = self.read(sample_id, mask_file, _DIFFERENCE)
            voxels, (before, after) = found["voxels"], found["labels"]
        except (OSError, LookupError, ValueError):
            return None
        if voxels.dtype != np.int64 or before.dtype != np.uint8:
            return None
        return Difference(voxels, before, after)

    def undo(self, sample_id: str, mask_file: Path, denoised: Mask) -> Mask | None:
        """Return the undenoised mask, or None where nothing is kept for this file."""
        difference = self.read_difference(sample_id, mask_file)
        if difference is None:
            return None
        try:
            return difference.undo(denoised)
        except (IndexError, ValueError):  # damaged, or of a mask of another shape
            return None

    def read(
        self, sample_id: str, mask_file: Path, names: Collection[str] | None
    ) -> dict[str, NDArray[Any]]:
        """Return arrays by name, as far as they are kept and not damaged; of None, all."""
        path = self.path_for(sample_id, mask_file)
        try:
            data = io.BytesIO(path.read_bytes())
            with np.load(data, allow_pickle=False) as content:
                wanted = content.files if names is None else set(content.files) & set(names)
                return {name: content[name] for name in wanted}
        except Exception:  # numpy and zipfile raise many kinds for a damaged file
            return {}


def _of_difference(difference: Difference) -> dict[str, NDArray[Any]]:
    labels = np.stack([difference.before, difference.after])
    return {"voxels": difference.voxels, "labels": labels}


def _trailer(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(gzip_trailer(path)), np.uint8)


def _pack(arrays: Arrays) -> bytes:
    """Return an ``.npz`` file; unlike numpy's own it is packed quickly."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content.getvalue(), compresslevel=_LEVEL)
    return buffer.getvalue()
