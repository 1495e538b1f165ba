"""KiTS23: a folder a case, slices along the first axis, masks of each annotator beside."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from phantoms.planting import (
    OtherArchive,
    OtherSample,
    nifti_gz,
    plant_scan,
    relabel,
    write_file,
    write_junk,
    write_scan,
)

# Numbers go on at 400.
_NUMBERS: Final = (0, 2, 299, 400)
# Kidney, tumor, cyst.
_LABELS: Final = {1: (2, 3), 2: (10,), 3: (13,)}
_INSTANCES: Final = (
    "kidney_instance-1_annotation-1",
    "kidney_instance-1_annotation-2",
    "tumor_instance-1_annotation-1",
)


def write_kits23(
    directory: str | os.PathLike[str], *, seed: int = 0, defects: bool = False
) -> OtherArchive:
    """Write a synthetic archive in the form of KiTS23.

    Parameters
    ----------
    directory
        The archive becomes the folder ``kits23`` in it, with the scans below ``dataset``.
    seed
        The same seed gives the same bytes.
    defects
        The last case has a mask only, as all have before the images are downloaded.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    folder = Path(directory) / "kits23"
    samples, others, cases = [], ["dataset/kits23.json"], []
    for position, number in enumerate(_NUMBERS):
        case = f"case_{number:05d}"
        sample = OtherSample(
            sample_id=f"kits23_{case}",
            subset="train",
            image=f"dataset/{case}/imaging.nii.gz",
            mask_name=f"dataset/{case}/segmentation.nii.gz",
            defect="no_volume" if defects and number == _NUMBERS[-1] else "",
        )
        scan = plant_scan("ct", position, seed)
        scan = replace(scan, mask=relabel(scan.mask, _LABELS))
        sample = write_scan(folder, sample, ("storage_ipl", "mask_uint8"), scan, position, seed)
        if sample.defect:
            (folder / sample.image).unlink()
        for name in _INSTANCES[: 3 - position]:
            others.append(f"dataset/{case}/instances/{name}.nii.gz")
            label = 1 if name.startswith("kidney") else 2
            write_file(
                folder / others[-1],
                nifti_gz((sample.labels == label).astype(np.uint8), np.eye(4)),
            )
        samples.append(sample)
        cases.append({"case_id": case, "gender": "male", "bmi": 29.5, "age_at_nephrectomy": 49})
    (folder / others[0]).write_text(json.dumps(cases, indent=2) + "\n")
    partial = "dataset/case_00002/.partial.imaging.nii.gz"
    return OtherArchive(folder, tuple(samples), write_junk(folder, [partial]), tuple(others))
