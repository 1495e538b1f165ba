"""Binary masks: one file of zeros and ones for each label of the map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amos_dask.issues import Issue, make_issue
from amos_dask.kernels import count_labels, select_label
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, ImageWriter, Mask, in_file_order, mask_header

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
_PIECE_VOXELS = 1 << 19


def check_labels(
    present: tuple[int, ...], label_map: LabelMap, sample_id: str, file: str
) -> list[Issue]:
    """Return ``unknown_label`` when a mask holds labels that the map lacks, and ``empty_mask``."""
    issues = []
    unknown = label_map.unknown(present)
    if unknown:
        issues.append(
            make_issue(
                "unknown_label",
                f"labels {', '.join(map(str, unknown))} are not in the label map",
                sample=sample_id,
                file=file,
                action="mask left as it is; no binary masks, no denoising",
            )
        )
    if present == (0,):
        issues.append(
            make_issue("empty_mask", "the mask holds background only", sample=sample_id, file=file)
        )
    return issues


def write_binary_masks(paths: Mapping[int, Path], mask: Mask, volume: ImageInfo) -> tuple[int, ...]:
    """Write one uint8 mask of zeros and ones for each label.

    Parameters
    ----------
    paths : mapping of int to Path
        Label -> where to write (temporary names).
    mask : (x, y, z) uint8
        Multi-label mask.
    volume : ImageInfo
        Geometry of the written files.

    Returns
    -------
    tuple of int
        Labels that occur in the mask, ascending; all others have the same empty file.
    """
    pieces = _Pieces(mask)
    header = mask_header(volume)
    for label, path in paths.items():
        with ImageWriter(path, header) as writer:
            pieces.write(label, writer)
    return pieces.labels()


class _Pieces:
    """A mask in pieces that stay in the processor's cache while they are compared and packed.

    Organs fill a small part of a scan, so most pieces are known to be zero without looking again.
    """

    def __init__(self, mask: Mask) -> None:
        voxels = in_file_order(mask).reshape(-1, 1, 1)
        cuts = range(0, voxels.size, _PIECE_VOXELS)
        self._pieces = [voxels[start : start + _PIECE_VOXELS] for start in cuts]
        self._counts = [count_labels(piece) for piece in self._pieces]
        self._buffer = np.empty((_PIECE_VOXELS, 1, 1), np.uint8)

    def labels(self) -> tuple[int, ...]:
        """Return the labels that occur in the mask, ascending."""
        return tuple(int(label) for label in np.flatnonzero(np.any(self._counts, axis=0)))

    def write(self, label: int, writer: ImageWriter) -> None:
        """Write the binary mask of one label."""
        n_zeros = 0
        for piece, counts in zip(self._pieces, self._counts, strict=True):
            if counts[label]:
                writer.write_zeros(n_zeros)
                n_zeros = 0
                selected = select_label(piece, label, self._buffer[: piece.size])
                writer.write(selected.reshape(-1))
            else:
                n_zeros += piece.size
        writer.write_zeros(n_zeros)
