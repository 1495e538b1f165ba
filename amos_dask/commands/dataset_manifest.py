"""``dataset-manifest``: an index of all organised samples."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from amos_dask.commands.workplace import working_at
from amos_dask.engine.events import Listener
from amos_dask.engine.session import open_session
from amos_dask.errors import InconsistentDatasetError, number_of
from amos_dask.records import Step
from amos_dask.results import CommandResult, all_issues, step_results
from amos_dask.root.choices import find_label_map, require_sample_folders
from amos_dask.root.layout import absolute
from amos_dask.root.own_files import OwnFiles
from amos_dask.sample.describe import INCONSISTENT, describe_sample
from amos_dask.sample.selection import EVERYTHING
from amos_dask.sample.source import FolderSource
from amos_dask.tables.issue_files import record_issues
from amos_dask.tables.manifests import dataset_frame
from amos_dask.tables.of_root import missing_subset_issues
from amos_dask.tables.own_splits import put_manifest


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
            sources = [FolderSource(folder, layout, label_map) for folder in folders]
            describe = partial(describe_sample, below=root)
            results = step_results(session.map("describe", describe, sources))
        records = [result.value for result in results if result.value is not None]
        found = [found.issue for record in records for found in record.issues]
        problems += [issue.message for issue in found if issue.code == INCONSISTENT]
        if problems:
            counted = number_of(len(problems), "inconsistency", "inconsistencies")
            raise InconsistentDatasetError(
                "\n  ".join([f"{counted}; nothing was written:", *problems])
            )
        rows = [record.files for record in records if record.files is not None]
        frame = dataset_frame(rows, label_map, channels=layout.dataset.channel_names)
        scope = layout.shown(root)
        issues = [*all_issues(results), *missing_subset_issues(frame, scope, layout.dataset)]
        with OwnFiles(layout, adopt=adopt) as own:
            issues += put_manifest(own, absolute(output), frame)
        issues += own.issues()
        issues += record_issues(layout, Step.DATASET_MANIFEST, issues, scope=scope)
    summary = number_of(len(frame), "sample")
    return CommandResult((output,), len(folders), summary, tuple(issues), frame)
