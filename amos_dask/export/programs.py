"""The forms of two training programs: a dataset of nnU-Net v2, and a datalist of MONAI.

nnU-Net has training and validation scans in one folder; ``splits_final.json`` tells them apart, the
official ones as fold 0, and it takes that file over when it plans the experiment. A datalist is one
of the Medical Segmentation Decathlon with fold keys; in MONAI a fold is what is validated on: the
official validation scans have fold 0, training scans 1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError, ForeignFileError
from amos_dask.export.files import OWN_KEY, ExportTask, carries_own_key
from amos_dask.export.update import Form, export
from amos_dask.export.wanted import TEST, asked_for, fold_of
from amos_dask.results import CommandResult
from amos_dask.root.export_mark import ExportMark, is_export, path_from
from amos_dask.root.layout import Layout, absolute
from amos_dask.sample.selection import EVERYTHING, Selection

_FILE_ENDING = ".nii.gz"
_LINKS = ("copy", "symbolic")
_SUFFIX = {"train": "Tr", "val": "Tr", "test": "Ts"}
# After the dataset's name, added to its number. nnU-Net clips and scales a channel "CT" with values
# of all scans together, and any other scan by scan, as CT and MR under one roof need it.
_KINDS: Mapping[tuple[str, ...], tuple[str, int]] = {("ct",): ("CT", 1), ("mri",): ("MR", 2)}


def export_nnunet(
    root_dir: str | Path,
    directory: str | Path,
    *,
    dataset_id: int | None = None,
    link: str = "copy",
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    split_name: str | None = None,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as a dataset of nnU-Net v2.

    A scan of several channels is a file each, ``{case}_0000.nii.gz``, ``{case}_0001.nii.gz``, …
    What came in nnU-Net's raw form keeps its cases' names; its regions become plain labels.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    directory : str or Path
        ``nnUNet_raw``; the dataset becomes ``DatasetXXX_AMOS22``, ``…_AMOS22CT`` or ``…_AMOS22MR``
        in it, or such as ``DatasetXXX_Spleen`` for other datasets. An earlier export there is
        brought up to date; files in it that are not as it wrote them stay.
    dataset_id : int, optional
        Its number; by default 622, 623 for CT alone, 624 for MR alone; needed for other datasets.
    link : {"copy", "symbolic"}
        How volumes and unchanged masks get there: as copies, which take no room where the file
        system can share their blocks, or as links: what is written to one is written to ROOT_DIR.
    merge_prostate_uterus : bool
        One label for both, as in the archive.
    mr_without_14_16 : bool
        Leave bladder, prostate and uterus out of MR masks, as the tutorial advises.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    split_name : str, optional
        A split of yours, a worksheet of the dataset manifest such as ``split02_kfold5``: all its
        folds are in ``splits_final.json``. By default that of an earlier export there, else the
        official one, ``split01_standard``, which is fold 0.
    selection : Selection
        Choice of samples, such as one modality.
    adopt : bool
        A file in the way that is not as an export wrote it goes to ``replaced/`` in the dataset's
        folder; otherwise it stays and is the warning or error ``foreign_file``.
    no_lock : bool
        Take no lock on the dataset's folder, for a file system that has none.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported, what was outdated and
        what is not the export's are issues.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, the place is taken or in an archive, or there is not
        enough room.

    Examples
    --------
    >>> result = amos_dask.export_nnunet("data/AMOS22", "nnUNet_raw", progress="none")
    >>> result.summary.partition(";")[0]
    '5 training, 3 validation and 4 test scans'
    """
    if link not in _LINKS:
        raise AmosDaskError(f"link {link!r} is not known; choose from {_LINKS}.")
    plan = partial(_plan_dataset, directory=absolute(directory), dataset_id=dataset_id)
    labels = label_explanation, merge_prostate_uterus, mr_without_14_16, split_name
    asked = asked_for("nnunet", root_dir, selection, *labels)
    return export(
        asked, plan, link=link, adopt=adopt, no_lock=no_lock, cluster=cluster, progress=progress
    )


def _plan_dataset(
    mark: ExportMark, layout: Layout, directory: Path, dataset_id: int | None
) -> Form:
    """Return where the dataset is to be; raise where that is taken."""
    definition = layout.dataset
    modality, step = _KINDS.get(tuple(mark.label_values), ("", 0))
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
    return _NnUNetDataset(mark, definition, folder, folder / "dataset.json")


class _NnUNetDataset(Form):
    without_folds = "nnU-Net makes folds of its own"

    def place(self, task: ExportTask) -> ExportTask:
        suffix = _SUFFIX[task.subset]
        stem = self.base / f"images{suffix}" / task.case
        images = (f"{stem}_{k:04d}{_FILE_ENDING}" for k in range(len(self.channels)))
        label = self.base / f"labels{suffix}" / f"{task.case}{_FILE_ENDING}"
        return replace(task, images=tuple(map(Path, images)), label=label)

    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        # nnU-Net compares the number with what it finds: scans that somebody added count as well.
        images = (self.base / "imagesTr").glob(f"*{_FILE_ENDING}")
        n_training = len({path.name[: -len(f"_0000{_FILE_ENDING}")] for path in images})
        content = {
            **self.describe(self.base.name.partition("_")[2]),
            "channel_names": {str(number): name for number, name in enumerate(self.channels)},
            "labels": {name: value for value, name in enumerate(self.mark.label_names)},
            "numTraining": n_training,
            "file_ending": _FILE_ENDING,
            OWN_KEY: self.mark.record,  # nnU-Net leaves it alone
        }
        folds = self.folds(placed)
        # Without any, nnU-Net makes folds of its own.
        lists = {self.base / "splits_final.json": folds} if folds else {}
        return {**lists, self.sign: content}


def export_monai(
    root_dir: str | Path,
    file: str | Path,
    *,
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    split_name: str | None = None,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as a datalist of MONAI, with fold keys.

    Volumes (a list of files where there are several channels), and masks whose values stay as they
    are, are listed where they lie; changed masks are written to ``{file's stem}_labels`` beside
    the datalist, which also holds the export's mark.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    file : str or Path
        The datalist (JSON). An earlier export is brought up to date; files in it that are not as
        it wrote them stay.
    merge_prostate_uterus, mr_without_14_16, label_explanation, selection
        As for `export_nnunet`.
    split_name : str, optional
        A split of yours, a worksheet of the dataset manifest such as ``split02_kfold5``, whose
        folds are the fold keys; part ``test`` is listed for testing, what is in no part nowhere.
    adopt, no_lock, cluster, progress
        As for `export_nnunet`; ``replaced/`` is in the folder with the mark.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, or the place is taken or in an archive.

    Examples
    --------
    >>> result = amos_dask.export_monai("data/AMOS22", "amos22.json", progress="none")
    >>> result.summary
    '5 training, 3 validation and 4 test scans'
    """
    plan = partial(_plan_datalist, target=absolute(file), adopt=adopt)
    labels = label_explanation, merge_prostate_uterus, mr_without_14_16, split_name
    asked = asked_for("monai", root_dir, selection, *labels)
    return export(asked, plan, adopt=adopt, no_lock=no_lock, cluster=cluster, progress=progress)


def _plan_datalist(mark: ExportMark, layout: Layout, target: Path, adopt: bool) -> Form:
    """Return where the datalist is to be; raise where that is taken."""
    base = find_base(target)
    if not (is_export(base) or adopt or carries_own_key(target)) and os.path.lexists(target):
        raise ForeignFileError(target, "is there already, and no export of amos-dask")
    return _Datalist(mark, layout.dataset, base, target)


def find_base(datalist: Path) -> Path:
    """Return the folder with a datalist's changed masks and the mark of its export."""
    return datalist.with_name(f"{datalist.stem}_labels")


class _Datalist(Form):
    without_folds = "all are in fold 1"

    def place(self, task: ExportTask) -> ExportTask:
        """Return where a mask is to be if its values change; all else stays in ROOT_DIR."""
        return replace(task, label=self.base / f"{task.name}{_FILE_ENDING}")

    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        parts = {task.name: self.part_of(task) for task in self.in_parts(placed)}
        folds = {name: fold_of(part) for name, part in parts.items() if part != TEST}
        # What is never validated on has a number that no fold has.
        others = 1 + max((fold for fold in folds.values() if fold is not None), default=0)
        numbers = {name: others if fold is None else fold for name, fold in folds.items()}
        training = [
            {**self._entry(task), "fold": numbers[task.name]}
            for task in placed
            if task.name in numbers
        ]
        tested = [task for task in placed if parts.get(task.name, task.subset) == TEST]
        said = "; fold 0 is the official validation set, fold 1 the training set"
        if self.mark.split_name:
            said = f"; folds of {self.mark.split_name}"
        content = {
            **self.describe(self.dataset.name, said),
            "tensorImageSize": "3D" if len(self.channels) == 1 else "4D",
            "modality": {str(number): name for number, name in enumerate(self.channels)},
            "labels": {str(value): name for value, name in enumerate(self.mark.label_names)},
            "numTraining": len(training),
            "numTest": len(tested),
            "training": training,
            "testing": [self._entry(task) for task in tested],
            OWN_KEY: self.mark.record,
        }
        return {self.sign: content}

    def _entry(self, task: ExportTask) -> dict[str, str | list[str]]:
        images = [path_from(self.sign.parent, path) for path in task.images]
        entry: dict[str, str | list[str]] = {"image": images if len(images) > 1 else images[0]}
        if task.label is not None:
            entry["label"] = path_from(self.sign.parent, task.label)
        return entry
