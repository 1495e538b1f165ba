"""The form of nnU-Net v2: a folder ``DatasetXXX_AMOS22`` with images, labels and two JSON files.

Official training and validation scans are both in ``imagesTr``; ``splits_final.json`` tells them
apart as fold 0. nnU-Net takes that file over when it plans the experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import AmosDaskError
from amos_dask.export.files import OWN_KEY
from amos_dask.export.labels_of_exports import ExportLabels

FILE_ENDING = ".nii.gz"
_FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")
# After the dataset's name, added to its number, channel name. nnU-Net clips and scales "CT" with
# values of all scans together, and any other channel scan by scan; CT and MR under one roof need
# the latter.
_KINDS: Mapping[frozenset[str], tuple[str, int, str]] = {
    frozenset({"ct"}): ("CT", 1, "CT"),
    frozenset({"mri"}): ("MR", 2, "MR"),
}
_BOTH = ("", 0, "CT_or_MR")


@dataclass(frozen=True, slots=True)
class NnunetDataset:
    """The paths of one dataset below ``nnUNet_raw``.

    Parameters
    ----------
    folder : Path
        Such as ``DatasetXXX_AMOS22…``.
    channel : str
        Name of the only channel.
    definition : DatasetDefinition
        Whose samples.
    """

    folder: Path
    channel: str
    definition: DatasetDefinition

    @property
    def dataset_json(self) -> Path:
        """What nnU-Net reads first."""
        return self.folder / "dataset.json"

    @property
    def splits(self) -> Path:
        """The official training and validation scans."""
        return self.folder / "splits_final.json"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of images and labels."""
        return tuple(self.folder / name for name in _FOLDERS)

    def image(self, sample_id: str, subset: str) -> Path:
        """Return where a volume is placed."""
        return self.folder / f"images{_suffix(subset)}" / f"{sample_id}_0000{FILE_ENDING}"

    def label(self, sample_id: str, subset: str) -> Path:
        """Return where a mask is placed."""
        return self.folder / f"labels{_suffix(subset)}" / f"{sample_id}{FILE_ENDING}"


def _suffix(subset: str) -> str:
    return "Ts" if subset == "test" else "Tr"


def plan_dataset(
    directory: Path,
    definition: DatasetDefinition,
    modalities: Collection[str],
    dataset_id: int | None,
) -> NnunetDataset:
    """Return the dataset for scans of these modalities.

    Parameters
    ----------
    directory : Path
        ``nnUNet_raw``.
    definition : DatasetDefinition
        What the scans are of.
    modalities : collection of str
        ``ct``, ``mri``, ``und``.
    dataset_id : int or None
        Its number; None for the definition's.

    Raises
    ------
    AmosDaskError
        When the number is not one of nnU-Net's, or another dataset has it.
    """
    part, step, channel = _KINDS.get(frozenset(modalities), _BOTH)
    name = "".join(filter(str.isalnum, definition.name))
    if len(definition.modalities) > 1:  # then a part of the dataset has a name of its own
        name += part
    if dataset_id is None and definition.nnunet_id is None:
        raise AmosDaskError(f"{definition.name} has no number for nnU-Net; give --dataset_id.")
    number = (definition.nnunet_id or 0) + step if dataset_id is None else dataset_id
    if not 1 <= number <= 999:
        raise AmosDaskError(f"dataset_id must be a number from 1 to 999, not {number}.")
    folder = directory / f"Dataset{number:03d}_{name}"
    others = [path for path in directory.glob(f"Dataset{number:03d}*") if path != folder]
    if others:
        raise AmosDaskError(f"{others[0]} has the number {number} already; give --dataset_id.")
    return NnunetDataset(folder, channel, definition)


def dataset_json(
    dataset: NnunetDataset, labels: ExportLabels, n_training: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of ``dataset.json``; nnU-Net leaves ``extra`` alone.

    Parameters
    ----------
    dataset : NnunetDataset
        Its channel.
    labels : ExportLabels
        Names and values.
    n_training : int
        Scans in ``imagesTr``.
    extra : mapping
        Kept under the key ``amos_dask``.
    """
    return {
        "name": dataset.folder.name.partition("_")[2],
        "description": f"{dataset.definition.name}, organised and denoised by amos-dask",
        "reference": dataset.definition.reference,
        "licence": dataset.definition.licence,
        "channel_names": {"0": dataset.channel},
        "labels": labels.by_name(),
        "numTraining": n_training,
        "file_ending": FILE_ENDING,
        OWN_KEY: dict(extra),
    }


def splits_final(train: Sequence[str], val: Sequence[str]) -> list[dict[str, list[str]]]:
    """Return the content of ``splits_final.json``: one fold."""
    return [{"train": list(train), "val": list(val)}]
