"""CT-ORG: a flat folder, all float32, all with masks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from amos_dask.phantom.painting import Scan
from phantoms.planting import (
    OtherArchive,
    OtherSample,
    plant_scan,
    relabel,
    write_junk,
    write_scan,
)

# Numbers on both sides of the border between test and training set.
CT_ORG_NUMBERS: Final = (0, 7, 20, 21, 30, 139)
# CT-ORG's label -> organs of the phantom; the spleen stands for the lungs, brains are not shown.
_LABELS: Final = {1: (6,), 2: (14,), 3: (1,), 4: (2, 3)}
_BONE: Final = 5
_BONE_HU: Final = 300


def write_ct_org(
    directory: str | os.PathLike[str], *, seed: int = 0, defects: bool = False
) -> OtherArchive:
    """Write a synthetic archive in the form of CT-ORG.

    Parameters
    ----------
    directory
        The archive becomes the folder ``CT-ORG`` in it.
    seed
        The same seed gives the same bytes.
    defects
        Half a label in the mask of the last scan.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    folder = Path(directory) / "CT-ORG"
    folder.mkdir(parents=True)
    samples = []
    for position, number in enumerate(CT_ORG_NUMBERS):
        sample = OtherSample(
            sample_id=f"ctorg_{number:04d}",
            subset="test" if number <= 20 else "train",
            image=f"volume-{number}.nii.gz",
            mask_name=f"labels-{number}.nii.gz",
            mask_affine=("same", "shifted", "rounded", "flipped")[position % 4],
            defect="half_labels" if defects and number == CT_ORG_NUMBERS[-1] else "",
        )
        quirks = ("storage_ras", "mask_float32", f"mask_affine_{sample.mask_affine}")
        scan = _make_scan(position, seed)
        samples.append(write_scan(folder, sample, quirks, scan, position, seed))
    (folder / "README.txt").write_text("Synthetic scans; no patient was involved.\n")
    junk = write_junk(folder, ["._volume-0.nii.gz", "._labels-0.nii.gz", "volume-140.nii.gz.part"])
    return OtherArchive(folder, tuple(samples), junk)


def _make_scan(position: int, seed: int) -> Scan:
    scan = plant_scan("ct", position, seed)
    mask = relabel(scan.mask, _LABELS)
    mask[(scan.volume > _BONE_HU) & (mask == 0)] = _BONE
    # HU with a fraction, as resampling leaves them.
    volume: Any = scan.volume.astype(np.float32) + np.float32(0.25)
    return replace(scan, volume=volume, mask=mask)
