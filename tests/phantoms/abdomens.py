"""FLARE22, BTCV and WORD: abdominal CT with one mask a scan, told apart by names and folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from phantoms.planting import (
    OtherArchive,
    OtherSample,
    plant_scan,
    relabel,
    write_file,
    write_junk,
    write_scan,
)

_FORMS: Final = ("same", "shifted", "rounded", "flipped")  # of masks' affines


@dataclass(frozen=True)
class Abdomens:
    """A set of abdominal CT scans.

    Attributes
    ----------
    folder
        Name of the archive.
    scans
        Id of a sample, its subset, its scan and its mask ("" without); in order of ids.
    organs
        Names of labels from 1, with the phantom's organs that stand for them.
    others
        Files that its definition leaves aside.
    """

    folder: str
    scans: tuple[tuple[str, str, str, str], ...]
    organs: Mapping[str, tuple[int, ...]]
    others: tuple[str, ...] = ()


def _of_flare22(part: str, name: str, subset: str) -> tuple[str, str, str, str]:
    sample_id = f"flare22_{name.removeprefix('FLARE').removeprefix('22_')}"
    image, mask = f"{part}/images/{name}_0000.nii.gz", f"{part}/labels/{name}.nii.gz"
    return sample_id, subset, image, mask


def _of_btcv(part: str, n: int, subset: str) -> tuple[str, str, str, str]:
    label = f"RawData/{part}/label/label{n:04d}.nii.gz" if subset == "train" else ""
    return f"btcv_{n:04d}", subset, f"RawData/{part}/img/img{n:04d}.nii.gz", label


def _of_word(part: str, n: int, subset: str) -> tuple[str, str, str, str]:
    image = f"images{part}/word_{n:04d}.nii.gz"
    return f"word_{n:04d}", subset, image, image.replace("images", "labels")


ABDOMENS: Final = {
    "flare22": Abdomens(
        "FLARE22",
        (
            _of_flare22("Training/FLARE22_LabeledCase50", "FLARE22_Tr_0001", "train"),
            _of_flare22("Training/FLARE22_LabeledCase50", "FLARE22_Tr_0050", "train"),
            _of_flare22("Tuning", "FLARETs_0001", "val"),
        ),
        {
            "liver": (6,), "right kidney": (2,), "spleen": (1,), "pancreas": (10,), "aorta": (8,),
            "inferior vena cava": (9,), "right adrenal gland": (11,), "left adrenal gland": (12,),
            "gallbladder": (4,), "esophagus": (5,), "stomach": (7,), "duodenum": (13,),
            "left kidney": (3,),
        },
        ("Testing/FLARETs_0001_0000.nii.gz", "Training/Unlabeled/Case_00001_0000.nii.gz"),
    ),
    "btcv": Abdomens(
        "Abdomen",
        (
            _of_btcv("Training", 1, "train"),
            _of_btcv("Training", 10, "train"),
            _of_btcv("Training", 40, "train"),
            _of_btcv("Testing", 61, "test"),
        ),
        {
            "spleen": (1,), "right kidney": (2,), "left kidney": (3,), "gallbladder": (4,),
            "esophagus": (5,), "liver": (6,), "stomach": (7,), "aorta": (8,),
            "inferior vena cava": (9,), "portal vein and splenic vein": (13,), "pancreas": (10,),
            "right adrenal gland": (11,), "left adrenal gland": (12,),
        },
    ),
    "word": Abdomens(
        "WORD-V0.1.0",
        (_of_word("Val", 1, "val"), _of_word("Tr", 2, "train"), _of_word("Ts", 14, "test")),
        {
            "liver": (6,), "spleen": (1,), "left kidney": (3,), "right kidney": (2,),
            "stomach": (7,), "gallbladder": (4,), "esophagus": (5,), "pancreas": (10,),
            "duodenum": (13,), "colon": (), "intestine": (), "adrenal": (11, 12), "rectum": (15,),
            "bladder": (14,), "head of left femur": (), "head of right femur": (),
        },
    ),
}  # fmt: skip


def write_abdomens(directory: str | os.PathLike[str], name: str, *, seed: int = 0) -> OtherArchive:
    """Write a synthetic archive in the form of one of `ABDOMENS`.

    Parameters
    ----------
    directory
        The archive becomes a folder in it.
    name
        Of the set.
    seed
        The same seed gives the same bytes.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    one = ABDOMENS[name]
    folder = Path(directory) / one.folder
    folder.mkdir(parents=True)
    labels = dict(enumerate(one.organs.values(), start=1))
    samples = []
    for position, (sample_id, subset, image, mask) in enumerate(one.scans):
        form = _FORMS[position % len(_FORMS)] if mask else "same"
        sample = OtherSample(sample_id, subset, image, mask, mask_affine=form)
        quirks = ("storage_las", "mask_uint8", f"mask_affine_{form}")
        scan = plant_scan("ct", position, seed)
        scan = replace(scan, mask=relabel(scan.mask, labels))
        (folder / mask).parent.mkdir(parents=True, exist_ok=True)
        samples.append(write_scan(folder, sample, quirks, scan, position, seed))
    for other in one.others:
        write_file(folder / other, (folder / one.scans[0][2]).read_bytes())
    return OtherArchive(folder, tuple(samples), write_junk(folder, ["._img"]), one.others)
