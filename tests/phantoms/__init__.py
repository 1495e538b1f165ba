"""Small synthetic archives in the forms of CT-ORG and of a Medical Segmentation Decathlon task.

The organs are those of the AMOS22 phantom under the other dataset's labels: what matters is that
names, types, labels and oddities are those of the real archives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from amos_dask.phantom import Scan, make_scan
from amos_dask.phantom.quirks import Quirks, nifti_pair
from amos_dask.phantom.specks import plant_specks

_SHAPES: Final = ((48, 40, 12), (44, 48, 14), (40, 40, 16))
_SPACINGS_MM: Final = ((0.78125, 0.78125, 5.0), (1.25, 1.25, 3.0), (0.9765625, 0.9765625, 2.5))
_BONE_HU: Final = 300
_JUNK: Final = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(58)
# Before the prostate/uterus split AMOS22 has labels 0..15.
_N_LABELS: Final = 16

# Numbers on both sides of the border between test and training set.
CT_ORG_NUMBERS: Final = (0, 7, 20, 21, 30, 139)
# CT-ORG's label -> organs of the phantom; the spleen stands for the lungs, brains are not shown.
_CT_ORG_LABELS: Final = {1: (6,), 2: (14,), 3: (1,), 4: (2, 3)}
_CT_ORG_BONE: Final = 5


@dataclass(frozen=True)
class Task:
    """A task of the Decathlon.

    Attributes
    ----------
    folder, name, prefix
        Names of its folder, of itself and of its files.
    modality
        As dataset.json has it.
    digits
        How far numbers are padded.
    labels
        Name -> organs of the phantom; the first has label 1.
    train, test
        Numbers of its scans.
    """

    folder: str
    name: str
    prefix: str
    modality: str
    digits: int
    labels: Mapping[str, tuple[int, ...]]
    train: tuple[int, ...]
    test: tuple[int, ...]


TASKS: Final = {
    "spleen": Task(
        "Task09_Spleen", "Spleen", "spleen", "CT", 1, {"spleen": (1,)}, (2, 10, 12), (1, 7)
    ),
    "heart": Task(
        "Task02_Heart", "Heart", "la", "MRI", 3, {"left atrium": (6, 8)}, (3, 4), (1,)
    ),
    "colon": Task(
        "Task10_Colon", "COLON", "colon", "CT", 3, {"Cancer": (7,), "Stool (left)": (13,)}, (1,), ()
    ),
}  # fmt: skip


@dataclass(frozen=True)
class OtherSample:
    """What was planted for one scan.

    Attributes
    ----------
    sample_id
        Its id in the result, such as "ctorg_0007".
    subset
        "train" or "test".
    image, mask_name
        Names inside the archive, POSIX; `mask_name` is "" without mask.
    mask_affine
        "same", or how the mask's affine differs.
    defect
        "multi_channel", "half_labels", or "".
    """

    sample_id: str
    subset: str
    image: str
    mask_name: str
    mask_affine: str = "same"
    defect: str = ""


@dataclass(frozen=True)
class OtherArchive:
    """A written archive and what is in it.

    Attributes
    ----------
    path
        The folder.
    samples
        By number.
    junk
        Files that belong to no scan, relative to `path`, sorted.
    """

    path: Path
    samples: tuple[OtherSample, ...]
    junk: tuple[str, ...]


def write_ct_org(
    directory: str | os.PathLike[str], *, seed: int = 0, defects: bool = False
) -> OtherArchive:
    """Write a synthetic archive in the form of CT-ORG: a flat folder, all float32, all with masks.

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
            mask_affine=_mask_affine(position),
            defect="half_labels" if defects and number == CT_ORG_NUMBERS[-1] else "",
        )
        quirks = ("storage_ras", "mask_float32", f"mask_affine_{sample.mask_affine}")
        _write_scan(folder, sample, quirks, _make_ct_org(position, seed), position, seed)
        samples.append(sample)
    (folder / "README.txt").write_text("Synthetic scans; no patient was involved.\n")
    junk = _write_junk(folder, ["._volume-0.nii.gz", "._labels-0.nii.gz", "volume-140.nii.gz.part"])
    return OtherArchive(folder, tuple(samples), junk)


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
        "spleen" (CT), "heart" (MR) or "colon" (names of labels that are odd).
    seed
        The same seed gives the same bytes.
    defects
        The first training scan has two channels, as those of tasks 1 and 5.

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
            mask_affine=_mask_affine(position) if is_train else "same",
            defect="multi_channel" if defects and number == one.train[0] else "",
        )
        storage = "storage_las" if position % 2 else "storage_ras"
        quirks = (storage, "mask_uint8", f"mask_affine_{sample.mask_affine}")
        _write_scan(folder, sample, quirks, _make_task(one, position, seed), position, seed)
        samples.append(sample)
    (folder / "dataset.json").write_text(json.dumps(_dataset_json(one, samples), indent=1) + "\n")
    junk = [f"{s.image.split('/')[0]}/._{s.image.split('/')[1]}" for s in samples[:3]]
    return OtherArchive(folder, tuple(samples), _write_junk(folder, ["._dataset.json", *junk]))


def _mask_affine(position: int) -> str:
    return ("same", "shifted", "rounded", "flipped")[position % 4]


def _scan(modality: str, position: int, seed: int) -> Scan:
    n = position % len(_SHAPES)
    scan = make_scan(modality, _SHAPES[n], _SPACINGS_MM[n], seed * 1000 + position)
    plant_specks(scan.mask, scan.spacing_mm, np.random.default_rng([seed, position]), times=19)
    return scan


def _make_ct_org(position: int, seed: int) -> Scan:
    scan = _scan("ct", position, seed)
    mask = _relabel(scan.mask, _CT_ORG_LABELS)
    mask[(scan.volume > _BONE_HU) & (mask == 0)] = _CT_ORG_BONE
    # HU with a fraction, as resampling leaves them.
    volume: Any = scan.volume.astype(np.float32) + np.float32(0.25)
    return replace(scan, volume=volume, mask=mask)


def _make_task(task: Task, position: int, seed: int) -> Scan:
    scan = _scan("ct" if task.modality == "CT" else "mri", position, seed)
    labels = dict(enumerate(task.labels.values(), start=1))
    return replace(scan, mask=_relabel(scan.mask, labels))


def _relabel(
    mask: npt.NDArray[np.uint8], labels: Mapping[int, tuple[int, ...]]
) -> npt.NDArray[np.uint8]:
    lookup = np.zeros(_N_LABELS, np.uint8)
    for label, organs in labels.items():
        lookup[list(organs)] = label
    return np.asarray(lookup[mask], np.uint8, order="F")


def _write_scan(
    folder: Path, sample: OtherSample, quirks: Quirks, scan: Scan, position: int, seed: int
) -> None:
    if sample.defect == "multi_channel":
        scan = replace(scan, volume=np.stack([scan.volume, scan.volume], axis=3))
    if sample.defect == "half_labels":
        scan = replace(scan, mask=scan.mask / np.float32(2))
    corner_mm = np.random.default_rng([seed, position]).uniform(-90, 90, 3)
    volume, mask = nifti_pair(scan, quirks, corner_mm)
    (folder / sample.image).write_bytes(volume)
    if sample.mask_name:
        (folder / sample.mask_name).write_bytes(mask)


def _dataset_json(task: Task, samples: list[OtherSample]) -> dict[str, Any]:
    """Return what the Decathlon says of a task: test scans are listed as plain text."""
    training = [s for s in samples if s.subset == "train"]
    test = [s for s in samples if s.subset == "test"]
    names = ["background", *task.labels]
    return {
        "name": task.name,
        "description": "synthetic scans in the form of a Decathlon task",
        "reference": "amos-dask phantom",
        "licence": "CC0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": task.modality},
        "labels": {str(index): name for index, name in enumerate(names)},
        "numTraining": len(training),
        "numTest": len(test),
        "training": [{"image": f"./{s.image}", "label": f"./{s.mask_name}"} for s in training],
        "test": [f"./{s.image}" for s in test],
    }


def _write_junk(folder: Path, names: list[str]) -> tuple[str, ...]:
    """Write what a Mac and an interrupted download leave behind."""
    for name in (".DS_Store", *names):
        (folder / name).write_bytes(_JUNK)
    return tuple(sorted((".DS_Store", *names)))
