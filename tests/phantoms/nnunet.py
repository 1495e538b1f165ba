"""A raw dataset of nnU-Net v2: ids of any kind, a file a channel, a dataset.json that says all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from phantoms.planting import (
    OtherArchive,
    OtherSample,
    plant_scan,
    relabel,
    vary_channels,
    write_file,
    write_junk,
    write_scan,
)

_CASES: Final = {"Case-2": "train", "case_007": "train", "case_100": "test", "tumor-12.a": "train"}
# As most datasets have them: what stands before the first _ is the prefix.
_PREFIXED: Final = {"liver_002": "train", "liver_10": "train", "liver_b7": "test"}
_LABELS: Final = {"background": 0, "organ": 1, "lesion": 2}
_REGIONS: Final = {"background": 0, "organ and lesion": [1, 2], "lesion": 2}
_IGNORE: Final = 3
_QUIRKS: Final = ("storage_las", "mask_uint8")


def write_nnunet(
    directory: str | os.PathLike[str],
    *,
    channels: Sequence[str] = ("T2", "ADC"),
    regions: bool = False,
    ignore: bool = False,
    prefixed: bool = False,
    file_ending: str = ".nii.gz",
    seed: int = 0,
) -> OtherArchive:
    """Write a synthetic raw dataset of nnU-Net v2.

    Parameters
    ----------
    directory
        The archive becomes the folder ``Dataset042_Phantom`` in it.
    channels
        Names of the channels, each with a file of its own.
    regions
        Whether dataset.json says which regions are learnt, in place of labels; the masks are the
        same.
    ignore
        Whether there is a label 3 of voxels that nobody labelled.
    prefixed
        Whether all ids begin with "liver_"; otherwise they begin with different things.
    file_ending
        ".nii.gz" or ".nii".
    seed
        The same seed gives the same bytes.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    folder = Path(directory) / "Dataset042_Phantom"
    organs = {1: (6,), 2: (1,), **({_IGNORE: (14,)} if ignore else {})}
    samples = []
    cases = _PREFIXED if prefixed else _CASES
    for position, (case, subset) in enumerate(cases.items()):
        part = "Tr" if subset == "train" else "Ts"
        images = [f"images{part}/{case}_{n:04d}{file_ending}" for n in range(len(channels))]
        sample = OtherSample(
            sample_id=case if prefixed else f"phantom_{case}",
            subset=subset,
            image=images[0],
            mask_name=f"labelsTr/{case}{file_ending}" if subset == "train" else "",
            more_images=tuple(images[1:]),
        )
        scan = plant_scan("ct" if list(channels) == ["CT"] else "mri", position, seed)
        mask = relabel(scan.mask, organs)
        volumes = vary_channels(scan.volume, len(channels))
        for image, volume in zip(images, volumes, strict=True):
            one = replace(scan, volume=volume, mask=mask)
            written = write_scan(folder, replace(sample, image=image), _QUIRKS, one, position, seed)
        samples.append(replace(sample, labels=written.labels))
    described = _dataset_json(channels, regions, ignore, file_ending, samples)
    write_file(folder / "dataset.json", (json.dumps(described, indent=4) + "\n").encode())
    first = Path(samples[0].image)
    junk = write_junk(folder, [(first.parent / f"._{first.name}").as_posix()])
    return OtherArchive(folder, tuple(samples), junk)


def _dataset_json(
    channels: Sequence[str],
    regions: bool,
    ignore: bool,
    file_ending: str,
    samples: list[OtherSample],
) -> dict[str, Any]:
    labels = {**(_REGIONS if regions else _LABELS), **({"ignore": _IGNORE} if ignore else {})}
    return {
        "channel_names": {str(n): name for n, name in enumerate(channels)},
        "labels": labels,
        **({"regions_class_order": [1, 2]} if regions else {}),
        "numTraining": sum(sample.subset == "train" for sample in samples),
        "file_ending": file_ending,
    }
