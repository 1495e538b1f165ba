"""BraTS: a folder a case, a file a channel, labels that were numbered anew after 2021."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from phantoms.planting import (
    OtherArchive,
    OtherSample,
    nifti_gz,
    plant_scan,
    relabel,
    vary_channels,
    write_file,
    write_junk,
)


class _Naming(NamedTuple):
    """Names of a year; the channels are native T1, T1 with contrast, T2 and FLAIR."""

    folder: str
    folders: dict[str, str]  # subset -> folder
    cases: tuple[tuple[str, str], ...]  # id, subset
    separator: str
    channels: tuple[str, ...]
    enhancing: int


_NAMINGS: Final = {
    2021: _Naming(
        "BraTS2021",
        {
            "train": "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021",
            "val": "RSNA_ASNR_MICCAI_BraTS2021_ValidationData",
        },
        (("BraTS2021_00000", "train"), ("BraTS2021_00001", "val"), ("BraTS2021_00002", "train")),
        "_",
        ("t1", "t1ce", "t2", "flair"),
        4,
    ),
    2023: _Naming(
        "BraTS2023-GLI",
        {
            "train": "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData",
            "val": "ASNR-MICCAI-BraTS2023-GLI-Challenge-ValidationData",
        },
        # The last three digits count the visits of one patient.
        (
            ("BraTS-GLI-00000-000", "train"),
            ("BraTS-GLI-00001-000", "val"),
            ("BraTS-GLI-00017-000", "train"),
            ("BraTS-GLI-00017-001", "train"),
        ),
        "-",
        ("t1n", "t1c", "t2w", "t2f"),
        3,
    ),
}


def write_brats(
    directory: str | os.PathLike[str], year: int = 2021, *, seed: int = 0
) -> OtherArchive:
    """Write a synthetic archive in the form of BraTS.

    All real cases have 240x240x155 voxels of 1 mm, stored LPS, and zero outside the brain; these
    differ in size. Cases of the validation set have no mask.

    Parameters
    ----------
    directory
        The archive becomes the folder ``BraTS2021`` or ``BraTS2023-GLI`` in it, with a folder
        each for training and validation.
    year
        2021 (labels 1, 2, 4) or 2023 (labels 1, 2, 3).
    seed
        The same seed gives the same bytes.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    naming = _NAMINGS[year]
    folder = Path(directory) / naming.folder
    samples = []
    for position, (case, subset) in enumerate(naming.cases):
        scan = plant_scan("mri", position, seed)
        mask = relabel(scan.mask, {1: (1,), 2: (6,), naming.enhancing: (2, 3)})
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[1, 3] = mask.shape[1] - 1
        stem = f"{naming.folders[subset]}/{case}/{case}{naming.separator}"
        images = [f"{stem}{channel}.nii.gz" for channel in naming.channels]
        is_brain = scan.volume > scan.volume.mean() / 2
        for image, volume in zip(images, vary_channels(scan.volume, len(images)), strict=True):
            write_file(folder / image, nifti_gz(volume * is_brain, affine))
        name = f"{stem}seg.nii.gz" if subset == "train" else ""
        if name:
            write_file(folder / name, nifti_gz(mask, affine))
        sample = OtherSample(
            sample_id=f"brats_{case}",
            subset=subset,
            image=images[0],
            mask_name=name,
            more_images=tuple(images[1:]),
            labels=mask if name else None,
        )
        samples.append(sample)
    first = Path(samples[0].image)
    junk = write_junk(folder, [(first.parent / f"._{first.name}").as_posix()])
    return OtherArchive(folder, tuple(samples), junk)
