"""``cluster check``: whether a cluster can do the work, said before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.archive.discover import discover
from amos_dask.datasets import DEFAULT, find_definition
from amos_dask.engine.connect import count_workers
from amos_dask.engine.events import Listener, Notice
from amos_dask.engine.options import options_of
from amos_dask.engine.session import open_session
from amos_dask.engine.workers import (
    USABLE_MEMORY,
    WorkerView,
    find_problems,
    forwarding_line,
    look_at_workers,
)
from amos_dask.errors import AmosDaskError, number_of
from amos_dask.records import Sample
from amos_dask.root.choices import find_archives, layout_for
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.receipts import Receipts
from amos_dask.sample.todo import largest_scan_bytes

# Of the archive's size; float32 volumes take more room than what they are made from.
_ROOM_FOR_ARCHIVE = 1.5


@dataclass(frozen=True)
class ClusterReport:
    """What is known of a cluster.

    Parameters
    ----------
    dashboard : str
        Link to the dashboard.
    ssh : str
        Command that forwards it to one's own machine.
    workers : DataFrame
        A row a worker.
    problems : tuple of str
        What stands in the way, a sentence each.
    """

    dashboard: str
    ssh: str
    workers: pd.DataFrame = field(repr=False)
    problems: tuple[str, ...]


def check_cluster(
    root_dir: str | Path | None = None,
    archive: str | Path | None = None,
    *,
    dataset: str | Path | None = None,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> ClusterReport:
    """Start or reach a cluster and look whether `run` would work on it.

    Parameters
    ----------
    root_dir : str or Path, optional
        ROOT_DIR to be; every worker must see it and be able to write there.
    archive : str or Path, optional
        The archive; every worker must see it. By default ``archive`` or ``amos22.zip`` in
        ``root_dir``, if any.
    dataset, cluster, progress
        As for `run`.

    Returns
    -------
    ClusterReport
        Workers and problems.

    Raises
    ------
    ClusterError
        When the cluster cannot be reached or no worker starts.

    Examples
    --------
    >>> options = amos_dask.ClusterOptions("local", workers=1)
    >>> amos_dask.check_cluster("data/AMOS22", cluster=options).problems
    ()
    """
    layout = None if root_dir is None else layout_for(absolute(root_dir), dataset)
    definition = find_definition(dataset or DEFAULT) if layout is None else layout.dataset
    locations = _find_locations(layout, archive)
    to_write = () if layout is None else (str(layout.root),)
    with _folder_to_be(layout), open_session(cluster, progress) as session:
        client, options = session.client, options_of(cluster)
        expected = 1 if options is None else count_workers(options) or 1
        session.listener(Notice("waiting for the workers"))
        views = look_at_workers(client, locations, to_write, n_workers=expected)
        problems = find_problems(views)
        if len(views) < expected:
            problems.append(f"{len(views)} of {number_of(expected, 'worker')} started")
        if locations:
            samples = discover(locations, definition).samples
            problems += _find_shortages(views, samples, layout)
        link = client.dashboard_link
    frame = pd.DataFrame([asdict(view) for view in views])
    return ClusterReport(link, forwarding_line(link), frame, tuple(problems))


def _find_locations(layout: Layout | None, archive: str | Path | None) -> tuple[str, ...]:
    """Return where the archive is, by default the one that `run` would take; none without one."""
    if layout is None:
        return () if archive is None else (str(archive),)
    try:
        return find_archives(layout, archive)
    except AmosDaskError:
        return ()


@contextmanager
def _folder_to_be(layout: Layout | None) -> Iterator[None]:
    """Make ROOT_DIR for the time of the look, since others cannot see what is not there."""
    folders = () if layout is None else (layout.root, *layout.root.parents)
    made = [path for path in folders if not path.exists()]
    try:
        for path in reversed(made):
            path.mkdir(exist_ok=True)
        yield
    finally:
        for path in made:
            with suppress(OSError):  # somebody has put something into it
                path.rmdir()


def _find_shortages(
    views: Sequence[WorkerView], samples: Sequence[Sample], layout: Layout | None
) -> list[str]:
    """Return what workers have too little of for the samples that are still to be done."""
    needed = largest_scan_bytes(samples) / USABLE_MEMORY
    done = set() if layout is None else set(Receipts(layout).sample_ids())
    left = [ref for s in samples if s.sample_id not in done for ref in (r for _, r in s.files)]
    room = 0.0 if layout is None else _ROOM_FOR_ARCHIVE * sum(ref.size for ref in left)
    problems = []
    for view in views:
        if 0 < view.memory_bytes < needed:
            problems.append(
                f"{view.host} gives a worker {view.memory_bytes / 1e9:.1f} GB of memory, the "
                f"largest scan needs {needed / 1e9:.1f} GB"
            )
        # The disk of one with other problems may not have been looked at.
        if view.free_bytes < room and not find_problems([view]):
            problems.append(
                f"{view.host} has {view.free_bytes / 1e9:.1f} GB of free disk, about "
                f"{room / 1e9:.1f} GB are needed"
            )
    return list(dict.fromkeys(problems))
