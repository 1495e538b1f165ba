"""``export``: organised samples for nnU-Net v2 and for MONAI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.errors import AmosDaskError
from amos_dask.events import Listener
from amos_dask.exports import monai, nnunet
from amos_dask.exports.files import (
    claim_folder,
    is_ours,
    remove_if_only_marked,
    remove_others,
    require_link,
    to_json,
)
from amos_dask.exports.labels import ExportLabels, plan_labels
from amos_dask.exports.sample import Exported, ExportTask, export_sample
from amos_dask.labels import LabelMap
from amos_dask.pipeline.arguments import (
    find_label_map,
    require_outside_archive,
    require_sample_folders,
)
from amos_dask.pipeline.reporting import step_results
from amos_dask.pipeline.results import CommandResult
from amos_dask.pipeline.selection import EVERYTHING, Selection
from amos_dask.pipeline.session import Needs, open_session
from amos_dask.records import SUBSETS, StepResult
from amos_dask.store.issue_log import IssueLog
from amos_dask.store.layout import Layout, SampleFolder, absolute, find_root
from amos_dask.store.lock import require_unlocked
from amos_dask.store.staging import Staging, remove_if_empty, write_text

_COLUMNS = ("ID", "subset", "modality", "image", "label")


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
    """
    require_link(link)
    request = _prepare(
        root_dir, label_explanation, selection, merge_prostate_uterus, mr_without_14_16
    )
    target = absolute(directory)
    request.require_outside_archive(target)
    dataset = nnunet.plan_dataset(target, request.layout.dataset, request.modalities, dataset_id)
    claim_folder(dataset.folder, request.record)
    tasks = [
        scan.task(
            request,
            image=dataset.image(scan.sample_id, scan.subset),
            label=dataset.label(scan.sample_id, scan.subset),
            link=link,
        )
        for scan in request.scans
    ]
    results = _run(request, tasks, dataset.dataset_json, (dataset.folder,), cluster, progress)
    done = _placed(request, results)
    for folder in dataset.folders:
        remove_others(folder, _files(done), request.layout.dataset.prefix)
    remove_if_empty(dataset.folder / "labelsTs")
    train, val = _ids(done, "train"), _ids(done, "val")
    content = nnunet.dataset_json(dataset, request.labels, len(train) + len(val), request.record)
    with Staging() as staging:
        if train and val:
            staging.write_text(dataset.splits, to_json(nnunet.splits_final(train, val)))
        else:  # nnU-Net makes folds of its own
            dataset.splits.unlink(missing_ok=True)
        staging.write_text(dataset.dataset_json, to_json(content))
        staging.publish(last=dataset.dataset_json)
    return _finish(results, done, dataset.folder)


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
    """
    request = _prepare(
        root_dir, label_explanation, selection, merge_prostate_uterus, mr_without_14_16
    )
    target = absolute(file)
    request.require_outside_archive(target)
    monai.require_own(target)
    masks = monai.labels_folder(target)
    if not request.labels.is_as_stored:
        claim_folder(masks, request.record)
    tasks = [
        scan.task(request, image=None, label=masks / f"{scan.sample_id}.nii.gz")
        for scan in request.scans
    ]
    outputs = () if request.labels.is_as_stored else (masks,)
    results = _run(request, tasks, target, outputs, cluster, progress)
    done = _placed(request, results)
    if is_ours(masks):  # also of an earlier export whose masks changed
        remove_others(masks, _files(done), request.layout.dataset.prefix)
        if request.labels.is_as_stored:
            remove_if_only_marked(masks)
    samples = [(scan.subset, found) for scan, found in done]
    content = monai.datalist(
        target,
        samples,
        request.layout.dataset,
        request.modalities,
        request.labels,
        request.record,
    )
    write_text(target, to_json(content))
    return _finish(results, done, target)


@dataclass(frozen=True, slots=True)
class _Scan:
    """An organised sample, with what its place in the tree tells."""

    folder: SampleFolder
    subset: str
    modality: str

    @property
    def sample_id(self) -> str:
        return self.folder.sample_id

    def task(
        self, request: _Request, *, image: Path | None, label: Path, link: str = "auto"
    ) -> ExportTask:
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
class _Request:
    """What is to be exported, and with which labels."""

    layout: Layout
    label_map: LabelMap
    scans: tuple[_Scan, ...]
    labels: ExportLabels
    non_finite: frozenset[str]
    record: Mapping[str, Any]

    @property
    def modalities(self) -> frozenset[str]:
        return frozenset(scan.modality for scan in self.scans)

    def require_outside_archive(self, target: Path) -> None:
        require_outside_archive(target, str(self.layout.root / "archive"))


def _prepare(
    root_dir: str | Path,
    label_explanation: str | Path | None,
    selection: Selection,
    merge_prostate_uterus: bool,
    mr_without_14_16: bool,
) -> _Request:
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
    return _Request(layout, label_map, scans, labels, non_finite, record)


def _require_unique(folders: Iterable[SampleFolder]) -> None:
    count = Counter(folder.sample_id for folder in folders)
    repeated = [sample_id for sample_id, n in count.items() if n > 1]
    if repeated:
        raise AmosDaskError(f"{repeated[0]} has {count[repeated[0]]} folders; run again first.")


def _look_at(layout: Layout, folder: SampleFolder) -> _Scan:
    group, subset = folder.path.parents[2].name, folder.path.parents[1].name
    if subset not in SUBSETS:
        raise AmosDaskError(f"{folder.path}: not in a folder train, val or test.")
    modality = next((m for m, name in layout.groups.items() if name == group), None)
    return _Scan(folder, subset, modality or layout.dataset.modality(int(folder.seq), ""))


def _run(
    request: _Request,
    tasks: list[ExportTask],
    sign: Path,
    outputs: tuple[Path, ...],
    cluster: Any,
    progress: str | Listener,
) -> list[StepResult[Exported]]:
    needs = Needs(to_read=(str(request.layout.root),), to_write=tuple(map(str, outputs)))
    with open_session(cluster, progress, needs) as session:
        session.prepare_kernels()
        sign.unlink(missing_ok=True)  # comes last, and says that all is as it says
        return step_results(session.map("export", export_sample, tasks))


_Placed = list[tuple[_Scan, Exported]]


def _placed(request: _Request, results: Iterable[StepResult[Exported]]) -> _Placed:
    found = {result.sample_id: result.value for result in results}
    values = ((scan, found.get(scan.sample_id)) for scan in request.scans)
    return [(scan, value) for scan, value in values if value is not None]


def _files(done: _Placed) -> set[Path]:
    files = (path for _, found in done for path in (found.image, found.label))
    return {path for path in files if path is not None}


def _ids(done: _Placed, subset: str) -> list[str]:
    return [scan.sample_id for scan, _ in done if scan.subset == subset]


def _finish(results: list[StepResult[Exported]], done: _Placed, output: Path) -> CommandResult:
    rows = [
        (
            scan.sample_id,
            scan.subset,
            scan.modality,
            str(found.image),
            found.label and str(found.label),
        )
        for scan, found in done
    ]
    count = Counter(scan.subset for scan, _ in done)
    n_left_out = len(results) - len(done)
    summary = (
        f"{count['train']} training, {count['val']} validation and {count['test']} test scans"
        + (f"; {n_left_out} left out" if n_left_out else "")
    )
    issues = tuple(issue for result in results for issue in result.issues)
    frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    return CommandResult((output,), len(results), summary, issues, frame)
