"""The form of MONAI: a datalist of the Medical Segmentation Decathlon with fold keys.

In MONAI a fold is what is validated on: official validation scans have fold 0, training scans 1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from amos_dask.engine.events import Listener
from amos_dask.errors import ForeignFileError
from amos_dask.export.files import OWN_KEY, ExportTask, carries_own_key
from amos_dask.export.update import Form, export
from amos_dask.export.wanted import TEST, asked_for, fold_of
from amos_dask.results import CommandResult
from amos_dask.root.choices import require_no_archive
from amos_dask.root.export_mark import ExportMark, is_export, path_from
from amos_dask.root.layout import Layout, absolute
from amos_dask.sample.selection import EVERYTHING, Selection


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
    require_no_archive(layout, target)
    if not (is_export(base) or adopt or carries_own_key(target)) and os.path.lexists(target):
        raise ForeignFileError(target, "is there already, and no export of amos-dask")
    return _Datalist(mark, layout.dataset, base, target)


def _fold(part: str, others: int) -> int:
    """Return the fold key of a part, or that of all others that are never validated on."""
    fold = fold_of(part)
    return others if fold is None else fold


def find_base(datalist: Path) -> Path:
    """Return the folder with a datalist's changed masks and the mark of its export."""
    return datalist.with_name(f"{datalist.stem}_labels")


class _Datalist(Form):
    without_folds = "all are in fold 1"

    def place(self, task: ExportTask) -> ExportTask:
        """Return where a mask is to be if its values change; all else stays in ROOT_DIR."""
        return replace(task, label=self.base / f"{task.name}.nii.gz")

    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        """Return the datalist; paths are relative to its folder."""
        taken = {task.name: self.part_of(task) for task in self.in_parts(placed)}
        # What is never validated on has a number that no fold has.
        folds_of = (fold_of(part) for part in taken.values())
        others = 1 + max((fold for fold in folds_of if fold is not None), default=0)
        training = [
            {**self._entry(task), "fold": _fold(taken[task.name], others)}
            for task in placed
            if taken.get(task.name, TEST) != TEST
        ]
        testing = [
            self._entry(task) for task in placed if taken.get(task.name, task.subset) == TEST
        ]
        folds = "; fold 0 is the official validation set, fold 1 the training set"
        if self.mark.split_name:
            folds = f"; folds of {self.mark.split_name}"
        content = {
            **self.describe(self.dataset.name, folds),
            "tensorImageSize": "3D" if len(self.channels) == 1 else "4D",
            "modality": {str(number): name for number, name in enumerate(self.channels)},
            "labels": {str(value): name for value, name in enumerate(self.mark.label_names)},
            "numTraining": len(training),
            "numTest": len(testing),
            "training": training,
            "testing": testing,
            OWN_KEY: self.mark.record,
        }
        return {self.sign: content}

    def _entry(self, task: ExportTask) -> dict[str, str | list[str]]:
        images = [path_from(self.sign.parent, path) for path in task.images]
        entry: dict[str, str | list[str]] = {"image": images if len(images) > 1 else images[0]}
        if task.label is not None:
            entry["label"] = path_from(self.sign.parent, task.label)
        return entry
