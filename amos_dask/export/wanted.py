"""What an export is to hold: the chosen samples, values of labels, and parts of a split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from amos_dask.datasets import SUBSETS
from amos_dask.errors import AmosDaskError, ManifestError
from amos_dask.export.files import ExportTask
from amos_dask.export.resampling import plan_grid
from amos_dask.geometry import is_usable, shortest_decimal, voxel_sizes_mm
from amos_dask.labels import BACKGROUND, PROSTATE, UTERUS, LabelMap
from amos_dask.nifti import ImageInfo
from amos_dask.params import ArraySettings
from amos_dask.root.choices import find_label_map, require_sample_folders
from amos_dask.root.export_mark import ExportMark
from amos_dask.root.layout import Layout, SampleFolder, absolute, find_root
from amos_dask.sample.selection import Selection
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.tables.issue_files import IssueLog
from amos_dask.tables.workbook import read_sheet, require_columns, sheet_names

# Version of how files are made from those of ROOT_DIR: where it is another, they are outdated.
RESULT_VERSION = 1
TEST = "test"
_FOLD = re.compile(r"fold(0|[1-9]\d{0,2})")
# Bladder, prostate, uterus: in MR too few are annotated to train on, as the tutorial says.
_RARE_IN_MR = (14, PROSTATE, UTERUS)


def asked_for(
    form: str,
    root_dir: str | Path,
    selection: Selection,
    label_explanation: str | Path | None,
    merge_prostate_uterus: bool,
    mr_without_14_16: bool,
    split_name: str | None,
) -> ExportMark:
    """Return what was asked for, as a mark tells it; arguments as of `export_nnunet`."""
    return ExportMark(
        form=form,
        root_dir=str(absolute(root_dir)),
        ids=None if selection.ids is None else tuple(selection.ids),
        subset=selection.subset,
        modality=selection.modality,
        label_explanation="" if label_explanation is None else str(absolute(label_explanation)),
        merge_prostate_uterus=merge_prostate_uterus,
        mr_without_14_16=mr_without_14_16,
        split_name=split_name or "",
    )


def find_wanted(asked: ExportMark) -> tuple[ExportMark, list[ExportTask]]:
    """Find the chosen samples and plan their labels; nothing is written.

    Returns
    -------
    mark : ExportMark
        What was asked for with samples, names and values of labels; yet without files.
    tasks : list of ExportTask
        The samples, by number, yet without places for their files; at least one.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, an id has two folders, there is no such split, or the
        dataset has no prostate and uterus to merge or leave out.
    """
    root = Path(asked.root_dir)
    layout = Layout.of(find_root(root))
    for name in ("merge_prostate_uterus", "mr_without_14_16"):
        if getattr(asked, name) and not layout.dataset.splits_prostate_uterus:
            raise AmosDaskError(f"--{name} is for AMOS22, and {root} is {layout.dataset.name}.")
    label_map = find_label_map(layout, asked.label_explanation or None)
    below = layout.grouped if root == layout.root else root
    selection = Selection(asked.ids, asked.subset, asked.modality)
    folders = selection.choose_folders(require_sample_folders(below, layout))
    _require_one_folder_each(root, folders)
    places = [_subset_and_modality(layout, folder) for folder in folders]
    if not any(subset != TEST for subset, _ in places):
        raise AmosDaskError(f"{root}: no training or validation samples among those chosen.")
    names, values = plan_labels(
        label_map,
        {modality for _, modality in places},
        merge_prostate_uterus=asked.merge_prostate_uterus,
        mr_without_14_16=asked.mr_without_14_16,
    )
    issues = IssueLog(layout.issue_log).all()
    non_finite = {issue.sample for issue in issues if issue.code == "non_finite_voxels"}
    tasks = [
        ExportTask(
            *(folder, layout, label_map, subset, modality, values[modality]),
            has_non_finite_voxels=folder.sample_id in non_finite,
        )
        for folder, (subset, modality) in zip(folders, places, strict=True)
    ]
    mark = replace(
        asked,
        parts=_find_parts(layout, asked, tasks) if asked.split_name else {},
        arrays=_settle(asked.arrays, tasks),
        label_values=values,
        label_names=names,
        result_version=RESULT_VERSION,
        samples=tuple(task.name for task in tasks),
        left_out=(),
        files={},
    )
    return mark, tasks


def _require_one_folder_each(root: Path, folders: Sequence[SampleFolder]) -> None:
    for sample_id, n in Counter(folder.sample_id for folder in folders).items():
        if n == 1:
            continue
        above = {p for f in folders if f.sample_id == sample_id for p in f.path.parents}
        roots = [parent for parent in above if Layout(parent).descriptor.is_dir()]
        if len(roots) > 1:
            raise AmosDaskError(
                f"{root}: {len(roots)} ROOT_DIRs lie below, the first is {min(roots)}; name "
                "one with --root_dir."
            )
        raise AmosDaskError(f"{sample_id} has {n} folders; run again first.")


def _settle(settings: ArraySettings | None, tasks: Sequence[ExportTask]) -> ArraySettings | None:
    """Return settings with the median spacing along the turned axes, where that is asked for."""
    if settings is None or not settings.is_median:
        return settings
    labelled = [task for task in tasks if task.subset != TEST]
    grids = [plan_grid(i.shape, i.affine, settings.orientation) for _, i in find_headers(labelled)]
    found = [voxel_sizes_mm(grid.affine) for grid in grids]
    if not found:
        raise AmosDaskError("no scan with labels can be read, whose spacing would be the median.")
    x, y, z = (shortest_decimal(size) for size in np.median(found, axis=0))
    return replace(settings, spacing_mm=(x, y, z))


def find_headers(tasks: Iterable[ExportTask]) -> Iterator[tuple[ExportTask, ImageInfo]]:
    """Yield samples with the header of their first channel, where it can be used."""
    for task in tasks:
        with suppress(*CANNOT_BE_READ):  # which is said of the sample
            info = task.read_header(task.folder.volume)
            if is_usable(info.affine):
                yield task, info


def _subset_and_modality(layout: Layout, folder: SampleFolder) -> tuple[str, str]:
    """Return the subset that a sample's place tells, and its modality, else told by its number."""
    group, subset = folder.path.parent.parent.parent.name, folder.path.parent.parent.name
    if subset not in SUBSETS:
        raise AmosDaskError(f"{folder.path}: not in a folder train, val or test.")
    return subset, layout.modality_of(group) or layout.dataset.modality(folder.seq, "")


def plan_labels(
    label_map: LabelMap,
    modalities: Collection[str],
    *,
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
) -> tuple[tuple[str, ...], dict[str, dict[int, int]]]:
    """Decide the labels of an export: consecutive values from 0, as training programs want them.

    Parameters
    ----------
    label_map : LabelMap
        Labels of the masks.
    modalities : collection of str
        Of the samples to be exported, at least one.
    merge_prostate_uterus, mr_without_14_16 : bool
        As for `export_nnunet`. Where there is only MR, labels 14 to 16 have no value at all.

    Returns
    -------
    names : tuple of str
        Name of each value; ``background`` comes first.
    values : dict of str to dict of int to int
        Modality, in order -> label -> its value in the export; 0 where it is left out.
    """
    names = label_map.names()
    names[BACKGROUND] = "background"  # nnU-Net knows it by this name
    merged = {label: label for label in label_map}
    if merge_prostate_uterus and {PROSTATE, UTERUS} <= names.keys():
        merged[UTERUS] = PROSTATE
        names[PROSTATE] = f"{names[PROSTATE]}/{names[UTERUS]}"
    kept = {modality: list(label_map) for modality in sorted(modalities)}
    if mr_without_14_16 and "mri" in kept:
        kept["mri"] = [label for label in label_map if label not in _RARE_IN_MR]
    exported = sorted({merged[label] for labels in kept.values() for label in labels})
    value_of = {label: value for value, label in enumerate(exported)}
    values = {
        modality: {
            label: value_of[merged[label]] if label in labels else BACKGROUND for label in label_map
        }
        for modality, labels in kept.items()
    }
    return tuple(names[label] for label in exported), values


def _find_parts(layout: Layout, asked: ExportMark, tasks: Sequence[ExportTask]) -> dict[str, str]:
    """Return chosen sample -> its part in a split that is a worksheet of the dataset manifest.

    The manifest of the only modality that is asked for is looked at first.
    """
    name, titles = asked.split_name, list[str]()
    for modality in dict.fromkeys((asked.modality, None)):
        path = layout.dataset_manifest(modality)
        found = sheet_names(path) if path.is_file() else []
        if name in found:
            break
        titles += [title for title in found if title.startswith("split")]
    else:
        raise AmosDaskError(
            f"there is no split {name!r} in {path}; found "
            f"{', '.join(dict.fromkeys(titles)) or 'none'}. 'amos-dask make-split' makes one."
        )
    try:
        rows = read_sheet(path, name, values_of=("ID", name))
        require_columns(rows, ("ID", name), path)
    except ManifestError as error:
        raise AmosDaskError(str(error)) from error
    rows = rows[rows[name].notna()]
    parts = dict(zip(rows["ID"].astype(str), rows[name].astype(str), strict=True))
    for sample_id, part in parts.items():
        if part not in SUBSETS and _FOLD.fullmatch(part) is None:
            raise AmosDaskError(
                f"{path}: {sample_id} is in part {part!r} of {name}; an export understands "
                "fold0, fold1, … and train, val, test."
            )
    if asked.form == "nnunet":
        labelled = {task.name for task in tasks if task.subset != TEST}
        _require_folds({i: part for i, part in parts.items() if i in labelled}, name)
    chosen = {task.name for task in tasks}
    return {sample: part for sample, part in parts.items() if sample in chosen}


def fold_of(part: str) -> int | None:
    """Return the fold in which a part is validated on; None of one that never is.

    Of a split into ``train`` and ``val`` fold 0 is the validation set.
    """
    found = _FOLD.fullmatch(part)
    if found is not None:
        return int(found[1])
    return 0 if part == "val" else None


def make_folds(parts: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Return what each fold is trained on and validated on.

    Parameters
    ----------
    parts : mapping of str to str
        Case -> part.

    Returns
    -------
    list of dict of str to list of str
        ``train`` and ``val`` of each fold, by its number; none where nothing is validated on, or
        nothing is left to train on. Cases of part ``test`` are in none.

    Examples
    --------
    >>> make_folds({"a": "fold0", "b": "fold1", "c": "test"})
    [{'train': ['b'], 'val': ['a']}, {'train': ['a'], 'val': ['b']}]
    """
    folds = {case: fold_of(part) for case, part in parts.items() if part != TEST}
    found = [
        {
            "train": [case for case, fold in folds.items() if fold != number],
            "val": [case for case, fold in folds.items() if fold == number],
        }
        for number in sorted({fold for fold in folds.values() if fold is not None})
    ]
    return found if all(fold["train"] for fold in found) else []


def _require_folds(parts: Mapping[str, str], split_name: str) -> None:
    """Raise where nnU-Net would make folds of its own, or count them otherwise than the split."""
    numbers = {fold for part in parts.values() if (fold := fold_of(part)) is not None}
    if numbers != set(range(len(numbers))) or not make_folds(parts):
        found = ", ".join(sorted(set(parts.values()))) or "none"
        raise AmosDaskError(
            f"{split_name}: of the chosen samples with labels there are parts {found}; nnU-Net "
            "needs fold0, fold1, … without a gap, or val, and something to train on beside."
        )
