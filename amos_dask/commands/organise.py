"""Commands that list and organise: archive-manifest, confirm-pairs and dataset-manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from amos_dask.archive.discover import check_files, discover, new_sample
from amos_dask.archive.listing import list_files, sort_names
from amos_dask.archive.recognise import require_outside_archives
from amos_dask.commands.workplace import working_at
from amos_dask.datasets import METADATA_FIELDS, SUBSETS, DatasetDefinition, Kind
from amos_dask.engine.events import Listener
from amos_dask.engine.session import open_session
from amos_dask.errors import InconsistentDatasetError, ManifestError, number_of
from amos_dask.file_refs import FileRef
from amos_dask.handwritten import find_sex
from amos_dask.params import Params
from amos_dask.plan import read_headers
from amos_dask.records import UNDEFINED, Metadata, Sample, Step
from amos_dask.results import CommandResult, describe_samples
from amos_dask.root.choices import (
    Remembered,
    find_label_map,
    find_metadata_csv,
    keep_dataset,
    keep_label_map,
    layout_for,
    read_remembered,
    require_outside_archive,
    require_sample_folders,
    settle_dataset,
)
from amos_dask.root.layout import (
    MANIFEST_SHEET,
    Layout,
    absolute,
    find_root_beside_archive,
    find_sample_folders,
)
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.working import working_on
from amos_dask.sample.describe import INCONSISTENT
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.source import ArchiveSource
from amos_dask.sample.todo import SampleTask
from amos_dask.tables.issue_files import record_issues
from amos_dask.tables.manifests import ARCHIVE_COLUMNS, FILE_TYPES, archive_frame, dataset_frame
from amos_dask.tables.of_root import missing_subset_issues
from amos_dask.tables.own_workbooks import put_workbook
from amos_dask.tables.splits import put_manifest
from amos_dask.tables.workbook import read_sheet, require_columns, require_title, sheet_names

_KINDS: Mapping[str, Kind] = {FILE_TYPES[kind]: kind for kind in get_args(Kind)}
_Known = tuple[tuple[Kind, int] | None, FileRef]  # a file, and what its name says it is


def archive_manifest(
    root_dir: str | Path,
    output_manifest_file: str | Path,
    *,
    labeled_data_meta: str | Path | None = None,
    metadata_encoding: str | None = None,
    dataset: str | Path | None = None,
    sheet_name: str = MANIFEST_SHEET,
    mr_metadata_offset: str | None = None,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """List every scan and mask of an archive with its geometry and metadata (routine 01).

    Parameters
    ----------
    root_dir : str or Path
        The archive: a folder, ``amos22.zip``, a tar, or a URL of any. Never written to.
    output_manifest_file : str or Path
        The workbook to write.
    sheet_name : str
        Title of the worksheet.
    dataset, labeled_data_meta, metadata_encoding, mr_metadata_offset
        What the archive is and how its csv is read; as for `amos_dask.run`.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/`` of ROOT_DIR.
    no_lock, cluster, progress
        How to run; as for `amos_dask.run`.

    Returns
    -------
    CommandResult
        With the manifest as ``frame``.

    Raises
    ------
    AmosDaskError
        When the archive or the csv cannot be used as a whole, or a file that is not ours is in
        the way.

    Examples
    --------
    >>> result = amos_dask.archive_manifest(
    ...     "downloads/amos22", "data/AMOS22/descriptor/archive_manifest.xlsx", progress="none"
    ... )
    >>> result.summary
    '20 files of 12 scans'
    """
    output = Path(output_manifest_file)
    require_title(sheet_name)
    require_outside_archive(output, str(root_dir))
    root = find_root_beside_archive(str(root_dir), output)
    require_outside_archives(output, layout_for(root, dataset).dataset)
    with working_on(Layout(root), no_lock=no_lock):
        layout = layout_for(root, dataset)
        csv = find_metadata_csv(layout, labeled_data_meta)
        before = read_remembered(layout) if labeled_data_meta is None else Remembered()
        encoding = metadata_encoding or before.metadata_encoding
        offset = mr_metadata_offset or before.mr_metadata_offset or "auto"
        found = discover([str(root_dir)], layout.dataset, csv, offset, encoding)
        layout = settle_dataset(layout, found.definition)
        with open_session(cluster, progress) as session:
            headers = read_headers(session, found)
        issues, frame = headers.issues, archive_frame(found.samples, headers.checks)
        with OwnFiles(layout, adopt=adopt) as own:
            put_workbook(own, absolute(output), {sheet_name: frame})
            keep_dataset(own, layout.dataset)
            keep_label_map(own, layout.dataset.label_map)
        issues += record_issues(layout, Step.ARCHIVE_MANIFEST, [*issues, *own.issues()])
        issues += own.issues()
    summary = f"{number_of(len(frame), 'file')} of {number_of(len(found.samples), 'scan')}"
    return CommandResult((output,), len(found.samples), summary, tuple(issues), frame)


def confirm_pairs(
    root_dir: str | Path,
    output_dir: str | Path,
    archive_manifest: str | Path,
    *,
    modality: str,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Organise the pairs of one modality: float32 volume, uint8 mask, info file (routine 02).

    Parameters
    ----------
    root_dir : str or Path
        The archive, as given to `archive_manifest`.
    output_dir : str or Path
        Where subset folders go, such as ``root_dir/grouped/AMOS-CT``.
    archive_manifest : str or Path
        The workbook that `archive_manifest` wrote.
    modality : {"ct", "mri", "und"}
        Which samples.
    selection : Selection
        Further choice of samples.
    adopt : bool
        A file in the way that is not ours goes to ROOT's ``replaced/``; otherwise it is the error
        ``foreign_file``.
    no_lock, cluster, progress
        As for `archive_manifest`.

    Returns
    -------
    CommandResult
        ``n_samples`` written or tried.

    Raises
    ------
    AmosDaskError
        When the manifest cannot be used or names files that the archive lacks.

    Examples
    --------
    >>> result = amos_dask.confirm_pairs(
    ...     "downloads/amos22",
    ...     "data/AMOS22/grouped/AMOS-CT",
    ...     "data/AMOS22/descriptor/archive_manifest.xlsx",
    ...     modality="ct",
    ...     progress="none",
    ... )
    >>> result.summary
    '8 of 8 ct samples written'
    """
    with working_at(
        output_dir, selection, cluster, progress, archive=str(root_dir), no_lock=no_lock
    ) as place:
        group, layout = place.folder, place.layout
        listed = _read_samples(Path(archive_manifest), str(root_dir), layout.dataset)
        chosen = selection.choose([sample for sample in listed if sample.modality == modality])
        results = place.make("pair", _pair_tasks(layout, group, chosen, adopt=adopt))
        issues = [found.issue for result in results for found in result.issues]
        issues += [
            issue for s in chosen if s.volume is None for issue in check_files(s, layout.dataset)
        ]
        with OwnFiles(layout) as own:
            keep_label_map(own, layout.dataset.label_map)
        record_issues(layout, Step.CONFIRM_PAIRS, issues, {s.sample_id for s in chosen})
    n_written = sum(result.folder is not None for result in results)
    summary = f"{n_written} of {number_of(len(chosen), f'{modality} sample')} written"
    return CommandResult((group,), len(chosen), summary, tuple(issues))


def _pair_tasks(
    layout: Layout, group: Path, chosen: Iterable[Sample], *, adopt: bool
) -> list[SampleTask]:
    """Return a task for each sample that has a volume."""
    there = find_sample_folders(group, layout.dataset)
    earlier = {folder.sample_id for folder in there}
    params = Params(layout.dataset, find_label_map(layout, None))
    return [
        SampleTask(
            ArchiveSource(sample, layout.dataset, sample.sample_id in earlier),
            layout,
            layout.folder_for(group, sample),
            frozenset({Step.CONFIRM_PAIRS}),
            params,
            adopt=adopt,
        )
        for sample in chosen
        if sample.volume is not None
    ]


def _read_samples(manifest: Path, root_dir: str, definition: DatasetDefinition) -> list[Sample]:
    """Return the samples that a manifest lists, with their files in the archive."""
    titles = sheet_names(manifest)
    frame = read_sheet(manifest, MANIFEST_SHEET if MANIFEST_SHEET in titles else titles[0])
    require_columns(frame, ARCHIVE_COLUMNS, manifest)
    files = list_files(root_dir)
    known: dict[str, _Known] = {ref.path: (None, ref) for ref in files}
    for scan in sort_names(files, definition).scans.values():
        known |= {ref.path: (part, ref) for part, ref in scan.items()}
    rows, samples = frame.dropna(how="all"), []
    for seq, group in rows.groupby(rows["seq"].map(str), sort=False):
        found: dict[tuple[Kind, int], FileRef] = {}
        for path, name in zip(group["file_path"].map(str), group["type"], strict=True):
            if path not in known:
                raise ManifestError(
                    f"{manifest}: {path} is not in {root_dir}; run archive-manifest again."
                )
            part, ref = known[path]
            kind = _KINDS.get(name)
            if kind is not None:
                found[part if part is not None and part[0] == kind else (kind, 0)] = ref
        if definition.find_seq(str(seq)) != seq:
            what = "number" if definition.has_numbers else "id"
            raise ManifestError(f"{manifest}: seq {seq!r} is not a {what} of {definition.name}.")
        subset = str(group["subset"].iloc[0])
        if subset not in SUBSETS:  # it becomes a folder
            raise ManifestError(f"{manifest}: subset {subset!r} of seq {seq} is not known.")
        last = group.iloc[-1]
        told = {n: UNDEFINED if pd.isna(last[n]) else str(last[n]) for n in METADATA_FIELDS}
        told["sex"] = find_sex(told["sex"]) or told["sex"]  # other scripts write the csv's word
        samples.append(new_sample(str(seq), subset, Metadata(**told), found, definition))
    return samples


def dataset_manifest(
    root_dir: str | Path,
    output_manifest_file: str | Path,
    *,
    label_explanation: str | Path | None = None,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Index every organised sample, after checking that its files agree (routine 05).

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it; paths in the manifest are relative to it.
    output_manifest_file : str or Path
        The workbook to write.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/`` of ROOT_DIR.
    no_lock, cluster, progress
        How to run; as for `amos_dask.run`.

    Returns
    -------
    CommandResult
        With the manifest as ``frame``.

    Raises
    ------
    InconsistentDatasetError
        When files of a sample disagree in shape, affine, spacing, origin or mask type, or an id
        has two folders: all of them are listed, and an older manifest stays as it is.
    AmosDaskError
        When there are no samples, the label map is not usable, or a workbook that is not ours is
        in the way.

    Examples
    --------
    >>> result = amos_dask.dataset_manifest("data/AMOS22/grouped", "manifest.xlsx", progress="none")
    >>> list(result.frame.columns[:4])
    ['ID', 'seq', 'sex', 'subset']
    """
    output = Path(output_manifest_file)
    with working_at(
        root_dir, EVERYTHING, cluster, progress, output=output, no_lock=no_lock
    ) as place:
        root, layout = place.folder, place.layout
        label_map = find_label_map(layout, label_explanation)
        folders = require_sample_folders(root, layout)
        n_of = Counter(folder.sample_id for folder in folders)
        problems = [
            f"{f.path.relative_to(root).as_posix()}: one of {n_of[f.sample_id]} folders of "
            f"{f.sample_id}"
            for f in folders
            if n_of[f.sample_id] > 1
        ]
        with open_session(cluster, progress) as session:
            session.prepare_kernels()
            records = describe_samples(session, layout, label_map, folders, below=root)
        found = [told.issue for record in records for told in record.issues]
        problems += [issue.message for issue in found if issue.code == INCONSISTENT]
        if problems:
            counted = number_of(len(problems), "inconsistency", "inconsistencies")
            raise InconsistentDatasetError(
                "\n  ".join([f"{counted}; nothing was written:", *problems])
            )
        rows = [record.files for record in records if record.files is not None]
        frame = dataset_frame(rows, label_map, channels=layout.dataset.channel_names)
        scope = layout.shown(root)
        issues = [*found, *missing_subset_issues(frame, scope, layout.dataset)]
        with OwnFiles(layout, adopt=adopt) as own:
            issues += put_manifest(own, absolute(output), frame)
        issues += own.issues()
        issues += record_issues(layout, Step.DATASET_MANIFEST, issues, scope=scope)
    summary = number_of(len(frame), "sample")
    return CommandResult((output,), len(folders), summary, tuple(issues), frame)
