"""``report``: the page that shows what was changed, and lets it be rejected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask import geometry
from amos_dask.engine.events import Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import ManifestError
from amos_dask.exclusions import Exclusions
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.organised import describe_samples
from amos_dask.outcomes import all_issues, step_results
from amos_dask.records import HeaderCheck, SampleRecord, sample_number
from amos_dask.report.content import ReportSample, make_content, make_times
from amos_dask.report.page import write_page
from amos_dask.report.picturing import PictureTask, read_pictures, take_pictures
from amos_dask.results import CommandResult
from amos_dask.root.choices import find_exclusions, find_label_map, require_sample_folders
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import MANIFEST_SHEET, Layout, SampleFolder, absolute
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import Staging
from amos_dask.root.working import require_unlocked, working_on
from amos_dask.sample.source import FolderSource
from amos_dask.sample.todo import written_record
from amos_dask.statistics.write import Statistics, write_statistics
from amos_dask.tables.manifests import FILE_TYPES
from amos_dask.tables.workbook import read_sheet
from amos_dask.version import __version__

# More cards than this nobody looks through; the page would be slow to open.
MOST_PICTURED = 1000


@dataclass(frozen=True)
class Findings:
    """What the report tells of.

    Parameters
    ----------
    records : sequence of SampleRecord
        All organised samples, by number.
    label_map : LabelMap
        Names of the labels.
    exclusions : Exclusions
        What denoising leaves as it was.
    repair_norms : mapping of str to float
        Sample -> Frobenius norm of the difference of its mask's affine, where it was repaired.
    statistics : Statistics or None
        Organ volumes and intensities, where they were counted.
    """

    records: Sequence[SampleRecord]
    label_map: LabelMap
    exclusions: Exclusions
    repair_norms: Mapping[str, float]
    statistics: Statistics | None


def make_report(
    root_dir: str | Path,
    *,
    label_explanation: str | Path | None = None,
    statistics: bool = True,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Write ``descriptor/report.html`` of an organised dataset, as `run` does.

    One file that needs nothing else: counts and issues, before and after of the slices that
    denoising changed most, distributions, repairs and times. Changes can be rejected in it, which
    gives the file that `denoise` and `run` take as ``exclude``.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR, with ``grouped``.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    statistics : bool
        Write ``descriptor/statistics.xlsx`` and ``.json`` as well, as `stats` does; without them
        the report has no organ volumes and intensities.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        With the page as its output.

    Raises
    ------
    AmosDaskError
        When there are no samples.
    """
    layout = Layout.of(absolute(root_dir))
    require_unlocked(layout)
    label_map = find_label_map(layout, label_explanation)
    exclusions = find_exclusions(layout, None, label_map)
    folders = require_sample_folders(layout.grouped, layout)
    with working_on(layout), open_session(cluster, progress) as session:
        records, issues = _records(session, layout, label_map, folders)
        rows = [record.files for record in records if record.files is not None]
        counted = write_statistics(session, layout, label_map, rows) if statistics else None
        norms = _norms_of_manifest(layout)
        findings = Findings(records, label_map, exclusions, norms, counted)
        pictures, found = gather_pictures(session, layout, label_map, records)
        issues += [*found, *(() if counted is None else counted.issues)]
        known = IssueLog(layout.issue_log).all()
        write_report(layout, findings, pictures, list(dict.fromkeys([*known, *issues])))
    outputs = (layout.report, *(() if counted is None else counted.outputs))
    summary = f"{len(rows)} samples, {len(pictures)} of them with pictures"
    return CommandResult(outputs, len(folders), summary, tuple(dict.fromkeys(issues)))


def _records(
    session: Session, layout: Layout, label_map: LabelMap, folders: Sequence[SampleFolder]
) -> tuple[list[SampleRecord], list[Issue]]:
    """Return each sample's record, from its receipt or else its files, and what is wrong there."""
    known = {folder: written_record(folder, layout) for folder in folders}
    unknown = [folder for folder, record in known.items() if record is None]
    if unknown:
        session.prepare_kernels()
    thresholds = tuple(layout.region_thresholds())
    reread = list(describe_samples(session, layout, label_map, thresholds, unknown))
    issues = [found.issue for record in reread for found in record.issues]
    records = [*(record for record in known.values() if record is not None), *reread]
    return sorted(records, key=lambda record: sample_number(record.sample_id)), issues


@dataclass(frozen=True, slots=True)
class Pictured:
    """A sample with pictures.

    Parameters
    ----------
    source : FolderSource
        The sample, beside whose receipt they are kept.
    n_pictures : int
        How many there are.
    """

    source: FolderSource
    n_pictures: int


def gather_pictures(
    session: Session, layout: Layout, label_map: LabelMap, records: Sequence[SampleRecord]
) -> tuple[dict[str, Pictured], list[Issue]]:
    """Return the pictures by sample, most changed first; take those that are missing.

    Parameters
    ----------
    session : Session
        Where to take them.
    layout : Layout
        ROOT_DIR.
    label_map : LabelMap
        The labels a mask may hold.
    records : sequence of SampleRecord
        All organised samples; at most `MOST_PICTURED` of those that denoising changed are pictured.

    Returns
    -------
    pictures : dict of str to Pictured
        Sample -> its pictures.
    issues : list of Issue
        Samples that could not be pictured.
    """
    changed = [record for record in records if record.files is not None and record.n_changed]
    changed.sort(key=lambda record: (-record.n_changed, sample_number(record.sample_id)))
    tasks = [
        PictureTask(
            FolderSource(layout.folder_of(record.files), layout, label_map),
            layout.modality_of(record.files.folder) or "und",
        )
        for record in changed[:MOST_PICTURED]
        if record.files is not None
    ]
    kept = ((task.name, read_pictures(task.source)) for task in tasks)
    found = {name: None if text is None else len(json.loads(text)) for name, text in kept}
    missing = [task for task in tasks if found[task.name] is None]
    results = step_results(session.map("pictures", take_pictures, missing))
    found |= {result.sample_id: result.value for result in results}
    counts = ((task, found[task.name]) for task in tasks)
    pictures = {task.name: Pictured(task.source, n) for task, n in counts if n is not None}
    return pictures, all_issues(results)


def write_report(
    layout: Layout,
    findings: Findings,
    pictures: Mapping[str, Pictured],
    issues: Sequence[Issue],
) -> Path:
    """Write the page.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    findings : Findings
        What it tells of.
    pictures : mapping of str to Pictured
        Sample -> its pictures, in the order in which they are shown.
    issues : sequence of Issue
        All of ROOT's.
    """
    counted = findings.statistics
    samples = [
        ReportSample(
            record,
            record.files,
            layout.modality_of(record.files.folder) or "und",
            record.files.folder.split("/")[2],
            None if counted is None else counted.label_voxels.get(record.sample_id),
            findings.repair_norms.get(record.sample_id),
            pictures[record.sample_id].n_pictures if record.sample_id in pictures else 0,
        )
        for record in findings.records
        if record.files is not None
    ]
    rows = [] if counted is None else _by_modality(counted.sheets["Intensities"])
    content = make_content(
        f"amos-dask {__version__}",
        layout.root.name,
        layout.dataset,
        samples,
        issues,
        findings.label_map,
        findings.exclusions,
        rows,
    )
    with Staging() as staging:
        page = staging.path_for(layout.report)
        told = ((name, read_pictures(one.source) or "[]") for name, one in pictures.items())
        write_page(page, content, make_times(_times_of(layout, samples)), told)
        staging.publish()
    return layout.report


def _times_of(layout: Layout, samples: Iterable[ReportSample]) -> dict[str, dict[str, float]]:
    """Return how long samples took, as far as that is kept."""
    receipts = Receipts(layout)
    kept = {s.files.sample_id: receipts.read(s.files.sample_id) for s in samples}
    return {name: dict(r.seconds) for name, r in kept.items() if r is not None and r.seconds}


def _by_modality(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame[frame["grouped_by"] == "modality"]
    return [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False)]


def find_norms(headers: Mapping[str, HeaderCheck]) -> dict[str, float]:
    """Return sample -> norm of the difference of its mask's affine, where it was repaired."""
    norms = (
        (name, file.diff_trans_f_norm)
        for name, check in headers.items()
        for file in check.files
        if file.kind == "mask"
    )
    return dict(_repaired(norms))


def _norms_of_manifest(layout: Layout) -> dict[str, float]:
    """Return the same from the archive manifest, if there is one."""
    try:
        frame = read_sheet(layout.archive_manifest, MANIFEST_SHEET)
        masks = frame[frame["type"] == FILE_TYPES["mask"]]
        names = (layout.dataset.sample_id(int(seq)) for seq in masks["seq"])
        return dict(_repaired(zip(names, masks["diff_trans_f_norm"], strict=True)))
    except (ManifestError, KeyError, ValueError):  # none, or somebody has edited it
        return {}


def _repaired(norms: Any) -> Iterator[tuple[str, float]]:
    for name, norm in norms:
        if isinstance(norm, (int, float)) and norm > geometry.SAME_AFFINE_NORM:
            yield str(name), round(float(norm), 6)
