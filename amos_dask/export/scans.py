"""What is exported, and how it ends, in whatever form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.datasets import SUBSETS
from amos_dask.engine.events import Listener
from amos_dask.engine.session import Needs, open_session
from amos_dask.errors import AmosDaskError
from amos_dask.export.labels_of_exports import ExportLabels, plan_labels
from amos_dask.export.placing import Exported, ExportTask, export_sample
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.outcomes import all_issues, step_results
from amos_dask.results import CommandResult
from amos_dask.root.choices import (
    find_label_map,
    require_outside_archive,
    require_sample_folders,
)
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import Layout, SampleFolder, absolute, find_root
from amos_dask.root.lock import require_unlocked
from amos_dask.sample.selection import Selection

_COLUMNS = ("ID", "subset", "modality", "image", "label")


@dataclass(frozen=True, slots=True)
class Scan:
    """An organised sample, with what its place in the tree tells.

    Parameters
    ----------
    folder : SampleFolder
        Its files.
    subset : {"train", "val", "test"}
        Official subset.
    modality : {"ct", "mri", "und"}
        Of its group's folder, else of its number.
    """

    folder: SampleFolder
    subset: str
    modality: str

    @property
    def sample_id(self) -> str:
        """The sample's id, such as ``amos_0001``."""
        return self.folder.sample_id

    def task(
        self, request: ExportRequest, *, image: Path | None, label: Path, link: str = "auto"
    ) -> ExportTask:
        """Return the task that puts its volume and mask where the form wants them.

        Parameters
        ----------
        request : ExportRequest
            What is to be exported.
        image : Path or None
            Where the volume goes; None where it is listed where it lies.
        label : Path
            Where the mask goes; test scans may have none.
        link : {"auto", "hard", "symbolic", "copy"}
            How unchanged files get there.
        """
        needs_label = self.subset != "test" or self.folder.mask.exists()
        return ExportTask(
            self.folder,
            request.layout,
            request.label_map,
            values=request.labels.values[self.modality],
            image=image,
            label=label if needs_label else None,
            link=link,
            has_non_finite_voxels=self.sample_id in request.non_finite,
        )


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, and with which labels.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    label_map : LabelMap
        Labels of the masks as they are.
    scans : tuple of Scan
        The chosen samples, by number.
    labels : ExportLabels
        Labels of the masks as they are exported.
    non_finite : frozenset of str
        Samples with voxels that are not finite.
    record : mapping
        How the labels were made, for the export's JSON.
    """

    layout: Layout
    label_map: LabelMap
    scans: tuple[Scan, ...]
    labels: ExportLabels
    non_finite: frozenset[str]
    record: Mapping[str, Any]

    @property
    def modalities(self) -> frozenset[str]:
        """Modalities of the chosen samples."""
        return frozenset(scan.modality for scan in self.scans)

    def require_outside_archive(self, target: Path) -> None:
        """Raise `AmosDaskError` when the export would lie in ROOT_DIR's archive."""
        require_outside_archive(target, str(self.layout.root / "archive"))


@dataclass(frozen=True, slots=True)
class ExportedScans:
    """What was exported.

    Parameters
    ----------
    placed : tuple of (Scan, Exported)
        The scans that were, with their files.
    n_asked : int
        How many were to be.
    issues : tuple of Issue
        What was found, also of those that were not.
    """

    placed: tuple[tuple[Scan, Exported], ...]
    n_asked: int
    issues: tuple[Issue, ...]

    @property
    def files(self) -> set[Path]:
        """Volumes and masks of the export."""
        files = (path for _, found in self.placed for path in (found.image, found.label))
        return {path for path in files if path is not None}

    def ids(self, subset: str) -> list[str]:
        """Return the samples of a subset, by number."""
        return [scan.sample_id for scan, _ in self.placed if scan.subset == subset]

    def result(self, output: Path) -> CommandResult:
        """Return the command's result, with a row a sample."""
        rows = [
            (
                scan.sample_id,
                scan.subset,
                scan.modality,
                str(found.image),
                found.label and str(found.label),
            )
            for scan, found in self.placed
        ]
        n_left_out = self.n_asked - len(self.placed)
        train, val, test = (len(self.ids(subset)) for subset in SUBSETS)
        summary = f"{train} training, {val} validation and {test} test scans"
        if n_left_out:
            summary += f"; {n_left_out} left out"
        frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        return CommandResult((output,), self.n_asked, summary, self.issues, frame)


def prepare(
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
    layout = find_root(root)
    require_unlocked(layout)
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
    _require_unique(folders)
    scans = tuple(_look_at(layout, folder) for folder in folders)
    if not any(scan.subset != "test" for scan in scans):
        raise AmosDaskError(f"{root_dir}: no training or validation samples among those chosen.")
    labels = plan_labels(
        label_map,
        {scan.modality for scan in scans},
        **wishes,
    )
    issues = IssueLog(layout.issue_log).all()
    record = {
        "made_by": "amos-dask export",
        **wishes,
        "label_values": labels.record(),
    }
    non_finite = frozenset(issue.sample for issue in issues if issue.code == "non_finite_voxels")
    return ExportRequest(layout, label_map, scans, labels, non_finite, record)


def _require_unique(folders: Iterable[SampleFolder]) -> None:
    count = Counter(folder.sample_id for folder in folders)
    repeated = [sample_id for sample_id, n in count.items() if n > 1]
    if repeated:
        raise AmosDaskError(f"{repeated[0]} has {count[repeated[0]]} folders; run again first.")


def _look_at(layout: Layout, folder: SampleFolder) -> Scan:
    group, subset = folder.path.parents[2].name, folder.path.parents[1].name
    if subset not in SUBSETS:
        raise AmosDaskError(f"{folder.path}: not in a folder train, val or test.")
    modality = layout.modality_of(group) or layout.dataset.modality(int(folder.seq), "")
    return Scan(folder, subset, modality)


def export_scans(
    request: ExportRequest,
    tasks: Sequence[ExportTask],
    sign: Path,
    outputs: tuple[Path, ...],
    cluster: Any,
    progress: str | Listener,
) -> ExportedScans:
    """Put every scan in its place.

    Parameters
    ----------
    request : ExportRequest
        What is to be exported.
    tasks : sequence of ExportTask
        One a scan.
    sign : Path
        The file that says that an export is complete; removed before anything is changed.
    outputs : tuple of Path
        Folders that workers must be able to write to.
    cluster, progress
        As for `export_nnunet`.
    """
    needs = Needs(to_read=(str(request.layout.root),), to_write=tuple(map(str, outputs)))
    with open_session(cluster, progress, needs) as session:
        session.prepare_kernels()
        sign.unlink(missing_ok=True)
        results = step_results(session.map("export", export_sample, tasks))
    found = {result.sample_id: result.value for result in results}
    values = ((scan, found.get(scan.sample_id)) for scan in request.scans)
    placed = tuple((scan, value) for scan, value in values if value is not None)
    return ExportedScans(placed, len(results), tuple(all_issues(results)))
