"""What a phantom tells of itself, and what all of them are made with."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from amos_dask.phantom.painting import Scan, make_scan, plant_specks
from amos_dask.phantom.planted import Quirks, nifti_pair

Mask = npt.NDArray[np.uint8]

_SHAPES: Final = ((48, 40, 12), (44, 48, 14), (40, 40, 16))
_SPACINGS_MM: Final = ((0.78125, 0.78125, 5.0), (1.25, 1.25, 3.0), (0.9765625, 0.9765625, 2.5))
_JUNK: Final = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(58)
# Before the prostate/uterus split AMOS22 has labels 0..15.
_N_LABELS: Final = 16


@dataclass(frozen=True)
class OtherSample:
    """What was planted for one scan.

    Attributes
    ----------
    sample_id
        Its id in the result, such as "ctorg_0007".
    subset
        "train", "val" or "test".
    image, mask_name
        Names inside the archive, POSIX; `image` is that of the first channel. `mask_name` is ""
        without mask, and where each label has a file.
    mask_affine
        "same", or how the mask's affine differs.
    defect
        "multi_channel", "half_labels", "not_binary", "no_volume", or "".
    more_images
        Names of its second channel and on, where each channel has a file.
    label_masks
        Label and name of each mask, where each label has a file.
    labels
        The labels that its voxels have in the order of the files, before any step, uint8 (x, y, z);
        None without mask, and where a defect leaves none.
    overlaps
        Lower and higher label -> voxels that are in the files of both, where there are any.
    """

    sample_id: str
    subset: str
    image: str
    mask_name: str
    mask_affine: str = "same"
    defect: str = ""
    more_images: tuple[str, ...] = ()
    label_masks: tuple[tuple[int, str], ...] = ()
    labels: Mask | None = field(default=None, compare=False, repr=False)
    overlaps: Mapping[tuple[int, int], int] = field(default_factory=dict, compare=False)

    @property
    def images(self) -> tuple[str, ...]:
        """Names of its channels."""
        return (self.image, *self.more_images)


@dataclass(frozen=True)
class OtherArchive:
    """A written archive and what is in it.

    Attributes
    ----------
    path
        The folder.
    samples
        By id.
    junk
        Files that belong to no scan, relative to `path`, sorted.
    others
        Files of the publishers' that no definition asks for, likewise.
    """

    path: Path
    samples: tuple[OtherSample, ...]
    junk: tuple[str, ...]
    others: tuple[str, ...] = ()


def plant_scan(modality: str, position: int, seed: int) -> Scan:
    """Return an abdomen with specks; those at three positions after another differ in size."""
    return deepcopy(_plant_scan(modality, position, seed))


@cache
def _plant_scan(modality: str, position: int, seed: int) -> Scan:
    n = position % len(_SHAPES)
    scan = make_scan(modality, _SHAPES[n], _SPACINGS_MM[n], seed * 1000 + position)
    plant_specks(scan.mask, scan.spacing_mm, np.random.default_rng([seed, position]), times=19)
    return scan


def relabel(mask: Mask, labels: Mapping[int, tuple[int, ...]]) -> Mask:
    """Return a mask with other labels: label -> organs of the phantom."""
    lookup = np.zeros(_N_LABELS, np.uint8)
    for label, organs in labels.items():
        lookup[list(organs)] = label
    return np.asarray(lookup[mask], np.uint8, order="F")


def vary_channels(volume: npt.NDArray[np.int16], n_channels: int) -> list[npt.NDArray[np.int16]]:
    """Return a volume under other contrasts, so that no channel can stand for another."""
    return [
        np.asarray(volume // (channel + 1) + 100 * channel, np.int16, order="F")
        for channel in range(n_channels)
    ]


def write_scan(
    folder: Path, sample: OtherSample, quirks: Quirks, scan: Scan, position: int, seed: int
) -> OtherSample:
    """Write a scan of one channel and its mask; return the sample with its labels."""
    if sample.defect == "multi_channel":
        scan = replace(scan, volume=np.stack([scan.volume, scan.volume], axis=3))
    if sample.defect == "half_labels":
        scan = replace(scan, mask=scan.mask / np.float32(2))
    corner_mm = np.random.default_rng([seed, position]).uniform(-90, 90, 3)
    volume, mask = nifti_pair(scan, quirks, corner_mm)
    write_file(folder / sample.image, volume)
    if not sample.mask_name:
        return sample
    write_file(folder / sample.mask_name, mask)
    if sample.defect == "half_labels":
        return sample
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(mask)).dataobj
    return replace(sample, labels=np.asarray(stored).astype(np.uint8))


def nifti_header(dtype: npt.DTypeLike, shape: tuple[int, ...], affine: Any) -> bytes:
    """Return the 352 bytes before the voxels of a file in millimetres, without scaling."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)


def nifti_gz(voxels: npt.NDArray[Any], affine: Any) -> bytes:
    """Return the gzipped file of an image."""
    header = nifti_header(voxels.dtype, voxels.shape, affine)
    return gzip.compress(header + voxels.tobytes(order="F"), 1, mtime=0)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, plain where its name does not end in .gz, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.decompress(content) if path.suffix == ".nii" else content)


def write_junk(folder: Path, names: list[str]) -> tuple[str, ...]:
    """Write what a Mac and an interrupted download leave behind."""
    for name in (".DS_Store", *names):
        (folder / name).write_bytes(_JUNK)
    return tuple(sorted((".DS_Store", *names)))
