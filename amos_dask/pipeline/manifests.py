"""Commands that make tables: ``dataset-manifest``, ``make-split`` and ``index-manifests``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from amos_dask.errors import InconsistentDatasetError, ManifestError
from amos_dask.issues import Issue, make_issue
from amos_dask.pipeline.arguments import find_label_map, require_sample_folders
from amos_dask.pipeline.reporting import record_issues, step_results
from amos_dask.pipeline.results import CommandResult
from amos_dask.pipeline.session import open_session
from amos_dask.progress import Listener
from amos_dask.recipe.describing import DescribeTask, describe_sample
from amos_dask.records import SampleFiles, Step
from amos_dask.store.layout import MANIFEST_SHEET, SPLIT_NAME, SampleFolder, absolute, find_root
from amos_dask.store.lock import require_unlocked
from amos_dask.tables.manifests import dataset_frame
from amos_dask.tables.splits import (
    index_frames,
    missing_subsets,
    official_split,
    require_split_name,
)
from amos_dask.tables.workbook import read_sheet, sheet_names, update_workbook, write_workbook


def dataset_manifest(
    root_dir: str | Path,
    output_manifest_file: str | Path,
    *,
    label_explanation: str | Path | None = None,
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
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else AMOS22's.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

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
        When there are no samples or the label map is not usable.
    """
    root, output = absolute(root_dir), Path(output_manifest_file)
    layout = find_root(root, output)
    require_unlocked(layout)
    label_map = find_label_map(layout, label_explanation)
    folders = require_sample_folders(root)
    problems = _doubles(folders, root)
    with open_session(cluster, progress) as session:
        session.prepare_kernels()
        tasks = [DescribeTask(folder, layout, label_map, root) for folder in folders]
        results = step_results(session.map("describe", describe_sample, tasks))
    rows: list[SampleFiles] = []
    for result in results:
        if result.value is not None:
            row, found = result.value
            rows.append(row)
            problems += found
    if problems:
        raise InconsistentDatasetError(
            f"{len(problems)} inconsistencies; nothing was written:\n  " + "\n  ".join(problems)
        )
    frame = dataset_frame(rows, label_map)
    update_workbook(output, {MANIFEST_SHEET: frame})
    issues = [issue for result in results for issue in result.issues]
    scope = tasks[0].shown(root)
    issues += missing_subset_issues(frame, scope)
    record_issues(layout, Step.DATASET_MANIFEST, issues, scope=scope)
    return CommandResult((output,), len(folders), f"{len(frame)} samples", tuple(issues), frame)


def _doubles(folders: Iterable[SampleFolder], root: Path) -> list[str]:
    count = Counter(folder.sample_id for folder in folders)
    return [
        f"{folder.path.relative_to(root).as_posix()}: one of {count[folder.sample_id]} folders "
        f"of {folder.sample_id}"
        for folder in folders
        if count[folder.sample_id] > 1
    ]


def missing_subset_issues(manifest: pd.DataFrame, group: str) -> list[Issue]:
    """Return ``no_samples`` for each official subset that a dataset manifest lacks."""
    return [
        make_issue(
            "no_samples",
            f"{PurePosixPath(group).name} has no {subset} samples",
            file=group,
            action="no index manifest for it",
        )
        for subset in missing_subsets(manifest)
    ]


def make_split(manifest_file: str | Path, *, split_name: str = SPLIT_NAME) -> CommandResult:
    """Add a worksheet with the official split to a dataset manifest (routine 06).

    Parameters
    ----------
    manifest_file : str or Path
        A workbook that `dataset_manifest` wrote. Its other worksheets stay.
    split_name : str
        Title of the worksheet and of its last column; an existing one is replaced.

    Returns
    -------
    CommandResult
        With the worksheet as ``frame``.

    Raises
    ------
    ManifestError
        When the workbook cannot be used or the name is not possible.
    """
    path = Path(manifest_file)
    require_split_name(split_name)
    _require_workbook(path)
    require_unlocked(find_root(path.parent))
    split = official_split(read_sheet(path, MANIFEST_SHEET), split_name, path)
    update_workbook(path, {split_name: split})
    counts = ", ".join(f"{n} {name}" for name, n in split[split_name].value_counts().items())
    return CommandResult((path,), len(split), f"{split_name}: {counts}", (), split)


def index_manifests(
    manifest_file: str | Path,
    output_index_manifest_dir: str | Path,
    *,
    subsets: Sequence[Sequence[str]],
    split_name: str = SPLIT_NAME,
) -> CommandResult:
    """Write an index manifest for each combination of subsets of a split (routine 07).

    Parameters
    ----------
    manifest_file : str or Path
        A workbook to which `make_split` added the split.
    output_index_manifest_dir : str or Path
        Folder of the index manifests.
    subsets : sequence of sequence of str
        Combinations, such as ``[["train", "val"], ["test"]]``.
    split_name : str
        The split's worksheet.

    Returns
    -------
    CommandResult
        ``outputs`` are the files ``{split}_{subsets joined by _}.xlsx``.

    Raises
    ------
    ManifestError
        When the workbook, the split or a subset is missing: nothing is written then.
    """
    path, folder = Path(manifest_file), Path(output_index_manifest_dir)
    require_split_name(split_name)
    _require_workbook(path)
    require_unlocked(find_root(path.parent, folder))
    if split_name not in sheet_names(path):
        raise ManifestError(f"{path}: there is no split {split_name!r}; run make-split first.")
    frames = index_frames(read_sheet(path, split_name), split_name, subsets, path)
    outputs = []
    for stem, frame in frames.items():
        outputs.append(folder / f"{stem}.xlsx")
        write_workbook(outputs[-1], {MANIFEST_SHEET: frame})
    return CommandResult(tuple(outputs), len(frames), f"{len(frames)} index manifests")


def _require_workbook(path: Path) -> None:
    """Raise when a manifest is missing, naming the place where the other spelling has it.

    The tutorial writes a modality's manifest to ``grouped/`` and reads it from ``grouped/AMOS-CT``.
    """
    if path.is_file():
        return
    group = path.stem.removeprefix("dataset_manifest_").replace("_", "-").upper()
    others = (path.parent / group / path.name, path.parent.parent / path.name)
    for other in others:
        if other.is_file():
            raise ManifestError(f"{path}: there is no such workbook; did you mean {other}?")
    raise ManifestError(f"{path}: there is no such workbook; run dataset-manifest first.")
