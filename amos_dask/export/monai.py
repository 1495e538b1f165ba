"""The form of MONAI: a datalist of the Medical Segmentation Decathlon with fold keys.

In MONAI a fold is what is validated on: official validation scans have fold 0, training scans 1.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.export.choose import ExportRequest, choose_scans
from amos_dask.export.files import (
    OWN_KEY,
    claim_folder,
    is_ours,
    remove_if_only_marked,
    remove_others,
    to_json,
)
from amos_dask.export.place import ExportedScans, ExportTask, export_scans
from amos_dask.results import CommandResult
from amos_dask.root.layout import Layout, absolute, find_root
from amos_dask.root.staging import write_text
from amos_dask.root.working import reading_from
from amos_dask.sample.selection import EVERYTHING, Selection

OFFICIAL_FOLDS = {"val": 0, "train": 1}
_CHANNELS = {"ct": "CT", "mri": "MR"}


def export_monai(
    root_dir: str | Path,
    file: str | Path,
    *,
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as a datalist of MONAI, with fold keys.

    Volumes, and masks whose values stay as they are, are listed where they lie; changed masks are
    written to ``{file's stem}_labels`` beside the datalist.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    file : str or Path
        The datalist (JSON). An earlier export is replaced, anything else never.
    merge_prostate_uterus, mr_without_14_16, label_explanation, selection, cluster, progress
        As for `export_nnunet`.

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
    >>> result = amos_dask.export_monai("data/AMOS22", "amos22.json", progress="none")
    >>> result.summary
    '5 training, 3 validation and 4 test scans'
    """
    with reading_from(Layout(find_root(absolute(root_dir)))):
        request = choose_scans(
            root_dir, label_explanation, selection, merge_prostate_uterus, mr_without_14_16
        )
        target = request.find_target(file)
        _require_own(target)
        masks = target.with_name(f"{target.stem}_labels")  # where masks are whose values change
        if request.changes_masks:
            claim_folder(masks, request.record)
        tasks = [replace(task, label=masks / f"{task.name}.nii.gz") for task in request.tasks]
        outputs = [masks] if request.changes_masks else []
        done = export_scans(tasks, target, outputs, cluster, progress)
        if is_ours(masks):  # also of an earlier export whose masks changed
            remove_others(masks, done.files, request.layout.dataset.prefix)
            if not request.changes_masks:
                remove_if_only_marked(masks)
        write_text(target, to_json(_datalist(target.parent, request, done)))
    return done.result(target)


def _require_own(file: Path) -> None:
    """Raise `AmosDaskError` when there is a file and it is no export of ours."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or OWN_KEY not in content:
        raise AmosDaskError(f"{file}: there already, and no export of amos-dask; choose another.")


def _datalist(folder: Path, request: ExportRequest, done: ExportedScans) -> dict[str, Any]:
    """Return the content of a datalist; paths are relative to its folder."""
    definition = request.layout.dataset
    training = [
        {**_entry(folder, task), "fold": OFFICIAL_FOLDS[task.subset]}
        for task in done.placed
        if task.subset != "test"
    ]
    testing = [_entry(folder, task) for task in done.placed if task.subset == "test"]
    return {
        "name": definition.name,
        "description": f"{definition.name}, organised and denoised by amos-dask; fold 0 is the "
        "official validation set, fold 1 the training set",
        "reference": definition.reference,
        "licence": definition.licence,
        "tensorImageSize": "3D",
        "modality": {"0": "_or_".join(_CHANNELS.get(m, "UND") for m in sorted(request.modalities))},
        "labels": {str(value): name for value, name in enumerate(request.label_names)},
        "numTraining": len(training),
        "numTest": len(testing),
        "training": training,
        "testing": testing,
        OWN_KEY: request.record,
    }


def _entry(folder: Path, task: ExportTask) -> dict[str, Any]:
    paths = {"image": task.image, "label": task.label}
    return {
        key: Path(os.path.relpath(path, folder)).as_posix()
        for key, path in paths.items()
        if path is not None
    }
