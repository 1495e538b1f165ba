"""The form of nnU-Net v2: a folder ``DatasetXXX_AMOS22`` with images, labels and two JSON files.

Official training and validation scans are both in ``imagesTr``; ``splits_final.json`` tells them
apart as fold 0. nnU-Net takes that file over when it plans the experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from amos_dask.datasets import DatasetDefinition
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.export.choose import ExportRequest, choose_scans
from amos_dask.export.files import OWN_KEY, claim_folder, remove_others, require_link, to_json
from amos_dask.export.place import ExportedScans, export_scans
from amos_dask.results import CommandResult
from amos_dask.root.layout import Layout, absolute, find_root
from amos_dask.root.staging import Staging, remove_if_empty
from amos_dask.root.working import reading_from
from amos_dask.sample.selection import EVERYTHING, Selection

FILE_ENDING = ".nii.gz"
_SUFFIX = {"train": "Tr", "val": "Tr", "test": "Ts"}
# After the dataset's name, added to its number, channel name. nnU-Net clips and scales "CT" with
# values of all scans together, and any other channel scan by scan; CT and MR under one roof need
# the latter.
_KINDS: Mapping[frozenset[str], tuple[str, int, str]] = {
    frozenset({"ct"}): ("CT", 1, "CT"),
    frozenset({"mri"}): ("MR", 2, "MR"),
}
_BOTH = ("", 0, "CT_or_MR")


def export_nnunet(
    root_dir: str | Path,
    directory: str | Path,
    *,
    dataset_id: int | None = None,
    link: str = "auto",
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as a dataset of nnU-Net v2.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    directory : str or Path
        ``nnUNet_raw``; the dataset becomes ``DatasetXXX_AMOS22``, ``…_AMOS22CT`` or ``…_AMOS22MR``
        in it, or such as ``DatasetXXX_Spleen`` for other datasets. An earlier export there is
        replaced, anything else never.
    dataset_id : int, optional
        Its number; by default 622, 623 for CT alone, 624 for MR alone; needed for other datasets.
    link : {"auto", "hard", "symbolic", "copy"}
        How volumes and unchanged masks get there. ``auto``: hard links where the file system
        allows them, else symbolic links.
    merge_prostate_uterus : bool
        One label for both, as in the archive.
    mr_without_14_16 : bool
        Leave bladder, prostate and uterus out of MR masks, as the tutorial advises.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    selection : Selection
        Choice of samples, such as one modality.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, or the place is taken.

    Examples
    --------
    >>> result = amos_dask.export_nnunet("data/AMOS22", "nnUNet_raw", progress="none")
    >>> result.summary
    '5 training, 3 validation and 4 test scans'
    """
    require_link(link)
    with reading_from(Layout(find_root(absolute(root_dir)))):
        request = choose_scans(
            root_dir, label_explanation, selection, merge_prostate_uterus, mr_without_14_16
        )
        definition = request.layout.dataset
        target = request.find_target(directory)
        folder, channel = _plan_dataset(target, definition, request.modalities, dataset_id)
        claim_folder(folder, request.record)
        tasks = [
            replace(
                task,
                image=folder / f"images{_SUFFIX[task.subset]}" / f"{task.name}_0000{FILE_ENDING}",
                label=folder / f"labels{_SUFFIX[task.subset]}" / f"{task.name}{FILE_ENDING}",
                link=link,
            )
            for task in request.tasks
        ]
        done = export_scans(tasks, folder / "dataset.json", [folder], cluster, progress)
        for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            remove_others(folder / name, done.files, definition.prefix)
        remove_if_empty(folder / "labelsTs")
        _write_json(folder, channel, request, done)
    return done.result(folder)


def _plan_dataset(
    directory: Path,
    definition: DatasetDefinition,
    modalities: Collection[str],
    dataset_id: int | None,
) -> tuple[Path, str]:
    """Return the dataset's folder and the name of its only channel; raise where it is taken."""
    modality, step, channel = _KINDS.get(frozenset(modalities), _BOTH)
    name = "".join(filter(str.isalnum, definition.name))
    if len(definition.modalities) > 1:  # then one modality of the dataset has a name of its own
        name += modality
    if dataset_id is None and definition.nnunet_id is None:
        raise AmosDaskError(f"{definition.name} has no number for nnU-Net; give --dataset_id.")
    number = (definition.nnunet_id or 0) + step if dataset_id is None else dataset_id
    if not 1 <= number <= 999:
        raise AmosDaskError(f"dataset_id must be a number from 1 to 999, not {number}.")
    folder = directory / f"Dataset{number:03d}_{name}"
    others = [path for path in directory.glob(f"Dataset{number:03d}*") if path != folder]
    if others:
        raise AmosDaskError(f"{others[0]} has the number {number} already; give --dataset_id.")
    return folder, channel


def _write_json(folder: Path, channel: str, request: ExportRequest, done: ExportedScans) -> None:
    """Write ``splits_final.json``, then ``dataset.json``, which says that all is in place."""
    definition, names = request.layout.dataset, request.label_names
    train, val = done.ids("train"), done.ids("val")
    content = {
        "name": folder.name.partition("_")[2],
        "description": f"{definition.name}, organised and denoised by amos-dask",
        "reference": definition.reference,
        "licence": definition.licence,
        "channel_names": {"0": channel},
        "labels": {name: value for value, name in enumerate(names)},
        "numTraining": len(train) + len(val),
        "file_ending": FILE_ENDING,
        OWN_KEY: request.record,  # nnU-Net leaves it alone
    }
    dataset_json, splits = folder / "dataset.json", folder / "splits_final.json"
    with Staging() as staging:
        if train and val:
            staging.write_text(splits, to_json([{"train": train, "val": val}]))
        else:  # nnU-Net makes folds of its own
            splits.unlink(missing_ok=True)
        staging.write_text(dataset_json, to_json(content))
        staging.publish(last=dataset_json)
