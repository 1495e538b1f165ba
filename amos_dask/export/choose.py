"""What is exported: the samples that were chosen, and the value that each of their labels gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amos_dask.datasets import SUBSETS
from amos_dask.errors import AmosDaskError
from amos_dask.export.place import RESULT_VERSION, ExportTask
from amos_dask.labels import BACKGROUND, PROSTATE, UTERUS, LabelMap
from amos_dask.root.choices import find_label_map, require_no_archive, require_sample_folders
from amos_dask.root.export_mark import ExportMark, path_from
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import Layout, SampleFolder, absolute, find_root
from amos_dask.sample.selection import Selection

# Bladder, prostate, uterus: in MR too few are annotated to train on, as the tutorial says.
RARE_IN_MR = (14, PROSTATE, UTERUS)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, and with which labels.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    tasks : tuple of ExportTask
        The chosen samples, by number, yet without places for their files.
    label_names : tuple of str
        Name of each value in the exported masks; ``background`` comes first.
    label_values : mapping of str to mapping of int to int
        Modality -> label -> its value in the export.
    record : mapping
        How the labels were made, for the export's JSON.
    root_dir : Path
        What was given; absolute.
    label_explanation : Path or None
        The label map that was given.
    selection : Selection
        Which samples were chosen.
    """

    layout: Layout
    tasks: tuple[ExportTask, ...]
    label_names: tuple[str, ...]
    label_values: Mapping[str, Mapping[int, int]]
    record: Mapping[str, Any]
    root_dir: Path
    label_explanation: Path | None
    selection: Selection

    @property
    def modalities(self) -> frozenset[str]:
        """Modalities of the chosen samples."""
        return frozenset(self.label_values)

    def find_target(self, path: str | Path) -> Path:
        """Return where to export to; raise `AmosDaskError` when that lies in the archive."""
        target = absolute(path)
        require_no_archive(self.layout, target)
        return target

    def mark(self, base: Path, form: str) -> ExportMark:
        """Return the mark of an export with its mark in a folder, yet without files."""
        given = self.label_explanation
        chosen = self.selection
        return ExportMark(
            **self.record,
            label_names=self.label_names,
            form=form,
            result_version=RESULT_VERSION,
            root_dir=path_from(base, self.root_dir),
            label_explanation="" if given is None else path_from(base, absolute(given)),
            ids=None if chosen.ids is None else tuple(chosen.ids),
            subset=chosen.subset,
            modality=chosen.modality,
            samples=tuple(task.name for task in self.tasks),
        )


def choose_scans(
    root_dir: str | Path,
    label_explanation: str | Path | None,
    selection: Selection,
    merge_prostate_uterus: bool,
    mr_without_14_16: bool,
) -> ExportRequest:
    """Find the samples and plan their labels; nothing is written. Arguments as of `export_nnunet`.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, an id has two folders, or the dataset has no
        prostate and uterus to merge or leave out.
    """
    root = absolute(root_dir)
    layout = Layout.of(find_root(root))
    wishes = {
        "merge_prostate_uterus": merge_prostate_uterus,
        "mr_without_14_16": mr_without_14_16,
    }
    for name, is_wished in wishes.items():
        if is_wished and not layout.dataset.splits_prostate_uterus:
            raise AmosDaskError(f"--{name} is for AMOS22, and {root} is {layout.dataset.name}.")
    label_map = find_label_map(layout, label_explanation)
    below = layout.grouped if root == layout.root else root
    folders = selection.choose_folders(require_sample_folders(below, layout))
    for sample_id, n in Counter(folder.sample_id for folder in folders).items():
        if n > 1:
            raise AmosDaskError(f"{sample_id} has {n} folders; run again first.")
    places = [_subset_and_modality(layout, folder) for folder in folders]
    if not any(subset != "test" for subset, _ in places):
        raise AmosDaskError(f"{root_dir}: no training or validation samples among those chosen.")
    names, values = plan_labels(label_map, {modality for _, modality in places}, **wishes)
    issues = IssueLog(layout.issue_log).all()
    non_finite = {issue.sample for issue in issues if issue.code == "non_finite_voxels"}
    tasks = tuple(
        ExportTask(
            folder,
            layout,
            label_map,
            subset=subset,
            modality=modality,
            values=values[modality],
            has_non_finite_voxels=folder.sample_id in non_finite,
        )
        for folder, (subset, modality) in zip(folders, places, strict=True)
    )
    record = {"made_by": "amos-dask export", **wishes, "label_values": values}
    given = None if label_explanation is None else Path(label_explanation)
    return ExportRequest(layout, tasks, names, values, record, root, given, selection)


def _subset_and_modality(layout: Layout, folder: SampleFolder) -> tuple[str, str]:
    """Return the subset that a sample's place tells, and its modality, else told by its number."""
    group, subset = folder.path.parents[2].name, folder.path.parents[1].name
    if subset not in SUBSETS:
        raise AmosDaskError(f"{folder.path}: not in a folder train, val or test.")
    return subset, layout.modality_of(group) or layout.dataset.modality(int(folder.seq), "")


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
    merge_prostate_uterus : bool
        Prostate and uterus become one label, as in the archive.
    mr_without_14_16 : bool
        Labels 14 to 16 become background in MR masks; where there is only MR, they have no value
        at all.

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
    kept = {
        modality: [x for x in label_map if x not in RARE_IN_MR]
        if mr_without_14_16 and modality == "mri"
        else list(label_map)
        for modality in modalities
    }
    exported = sorted({merged[label] for labels in kept.values() for label in labels})
    value_of = {label: value for value, label in enumerate(exported)}
    values = {
        modality: {
            label: value_of[merged[label]] if label in kept[modality] else BACKGROUND
            for label in label_map
        }
        for modality in sorted(modalities)
    }
    return tuple(names[label] for label in exported), values
