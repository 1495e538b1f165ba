"""The tasks of the Medical Segmentation Decathlon, whose dataset.json says what each is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from amos_dask.phantom.painting import Scan
from phantoms.planting import (
    OtherArchive,
    OtherSample,
    plant_scan,
    relabel,
    vary_channels,
    write_junk,
    write_scan,
)


@dataclass(frozen=True)
class Task:
    """A task of the Decathlon.

    Attributes
    ----------
    folder, name, prefix
        Names of its folder, of itself and of its files.
    modality
        As dataset.json has it; of several channels, "MRI".
    digits
        How far numbers are padded.
    labels
        Name -> organs of the phantom; the first has label 1.
    train, test
        Numbers of its scans.
    channels
        Names of the channels that its files have as fourth axis; empty for one.
    """

    folder: str
    name: str
    prefix: str
    modality: str
    digits: int
    labels: Mapping[str, tuple[int, ...]]
    train: tuple[int, ...]
    test: tuple[int, ...]
    channels: tuple[str, ...] = ()


TASKS: Final = {
    "brain": Task(
        "Task01_BrainTumour", "BRATS", "BRATS", "MRI", 3,
        {"edema": (6,), "non-enhancing tumor": (1,), "enhancing tumour": (2, 3)},
        (1, 457), (485,), ("FLAIR", "T1w", "t1gd", "T2w"),
    ),
    "heart": Task(
        "Task02_Heart", "Heart", "la", "MRI", 3, {"left atrium": (6, 8)}, (3, 4), (1,)
    ),
    "liver": Task(
        "Task03_Liver", "Liver", "liver", "CT", 1, {"liver": (6,), "cancer": (1,)}, (0, 10), (132,)
    ),
    "hippocampus": Task(
        "Task04_Hippocampus", "Hippocampus", "hippocampus", "MRI", 3,
        {"Anterior": (6,), "Posterior": (1,)}, (1, 367), (2,),
    ),
    "prostate": Task(
        "Task05_Prostate", "PROSTATE", "prostate", "MRI", 2, {"PZ": (6,), "TZ": (1,)},
        (0, 16), (3,), ("T2", "ADC"),
    ),
    "lung": Task("Task06_Lung", "Lung", "lung", "CT", 3, {"cancer": (1,)}, (1,), (2,)),
    "pancreas": Task(
        "Task07_Pancreas", "Pancreas", "pancreas", "CT", 3, {"pancreas": (6,), "cancer": (1,)},
        (1,), (2,),
    ),
    "vessels": Task(
        "Task08_HepaticVessel", "HepaticVessel", "hepaticvessel", "CT", 3,
        {"Vessel": (8, 9), "Tumour": (1,)}, (1,), (3,),
    ),
    "spleen": Task(
        "Task09_Spleen", "Spleen", "spleen", "CT", 1, {"spleen": (1,)}, (2, 10, 12), (1, 7)
    ),
    "primaries": Task(
        "Task10_Colon", "Colon", "colon", "CT", 3, {"colon cancer primaries": (7,)}, (1, 219), (3,)
    ),
    # Not as published: names that have to be brought into form.
    "colon": Task(
        "Task10_Colon", "COLON", "colon", "CT", 3, {"Cancer": (7,), "Stool (left)": (13,)}, (1,), ()
    ),
}  # fmt: skip
# The ten, in their order.
DECATHLON: Final = tuple(key for key in TASKS if key != "colon")


def write_decathlon(
    directory: str | os.PathLike[str],
    task: str = "spleen",
    *,
    seed: int = 0,
    defects: bool = False,
) -> OtherArchive:
    """Write a synthetic archive in the form of a task of the Medical Segmentation Decathlon.

    Parameters
    ----------
    directory
        The archive becomes a folder such as ``Task09_Spleen`` in it.
    task
        One of `DECATHLON`, such as "brain" and "prostate" (several channels on the fourth axis),
        "spleen" (CT), "heart" (MR); or "colon" (names of labels that are odd).
    seed
        The same seed gives the same bytes.
    defects
        The first training scan has two channels where its task has one.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    one = TASKS[task]
    folder = Path(directory) / one.folder
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    samples = []
    subsets = [*((n, "train") for n in one.train), *((n, "test") for n in one.test)]
    for position, (number, subset) in enumerate(sorted(subsets)):
        file_name = f"{one.prefix}_{str(number).zfill(one.digits)}.nii.gz"
        is_train = subset == "train"
        sample = OtherSample(
            sample_id=f"{one.prefix}_{number:04d}",
            subset=subset,
            image=f"images{'Tr' if is_train else 'Ts'}/{file_name}",
            mask_name=f"labelsTr/{file_name}" if is_train else "",
            mask_affine=_mask_affine(one, position) if is_train else "same",
            defect="multi_channel" if defects and number == one.train[0] else "",
        )
        storage = "storage_las" if position % 2 else "storage_ras"
        quirks = (storage, "mask_uint8", f"mask_affine_{sample.mask_affine}")
        scan = _make_scan(one, position, seed)
        samples.append(write_scan(folder, sample, quirks, scan, position, seed))
    (folder / "dataset.json").write_text(json.dumps(_dataset_json(one, samples), indent=1) + "\n")
    junk = [f"{s.image.split('/')[0]}/._{s.image.split('/')[1]}" for s in samples[:3]]
    return OtherArchive(folder, tuple(samples), write_junk(folder, ["._dataset.json", *junk]))


def _mask_affine(task: Task, position: int) -> str:
    return "same" if task.channels else ("same", "shifted", "rounded", "flipped")[position % 4]


def _make_scan(task: Task, position: int, seed: int) -> Scan:
    scan = plant_scan("ct" if task.modality == "CT" else "mri", position, seed)
    labels = dict(enumerate(task.labels.values(), start=1))
    volume: Any = scan.volume
    if task.channels:
        volume = np.stack(vary_channels(scan.volume, len(task.channels)), axis=3)
    return replace(scan, volume=volume, mask=relabel(scan.mask, labels))


def _dataset_json(task: Task, samples: list[OtherSample]) -> dict[str, Any]:
    """Return what the Decathlon says of a task: test scans are listed as plain text."""
    training = [s for s in samples if s.subset == "train"]
    test = [s for s in samples if s.subset == "test"]
    names = ["background", *task.labels]
    channels = task.channels or (task.modality,)
    return {
        "name": task.name,
        "description": "synthetic scans in the form of a Decathlon task",
        "reference": "amos-dask phantom",
        "licence": "CC0",
        "release": "1.0",
        "tensorImageSize": "4D" if task.channels else "3D",
        "modality": {str(index): name for index, name in enumerate(channels)},
        "labels": {str(index): name for index, name in enumerate(names)},
        "numTraining": len(training),
        "numTest": len(test),
        "training": [{"image": f"./{s.image}", "label": f"./{s.mask_name}"} for s in training],
        "test": [f"./{s.image}" for s in test],
    }
