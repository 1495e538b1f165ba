"""``cluster check``: whether a cluster can do the work, said before any work is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.archive.discover import discover
from amos_dask.cluster.check import WorkerView, find_problems, look_at_workers, ssh_line
from amos_dask.pipeline.arguments import find_archive
from amos_dask.pipeline.plan import largest_scan_bytes
from amos_dask.pipeline.session import Needs, open_session
from amos_dask.progress import Listener
from amos_dask.store.layout import Layout, absolute

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
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> ClusterReport:
    """Start or reach a cluster and look whether `run` would work on it.

    Parameters
    ----------
    root_dir : str or Path, optional
        ROOT_DIR to be; every worker must see it and be able to write there.
    archive : str or Path, optional
        The archive; every worker must see it. By default the one in ``root_dir``, if any.
    cluster : ClusterOptions, distributed.Client, str or None
        Which cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    ClusterReport
        Workers and problems.

    Raises
    ------
    ClusterError
        When the cluster cannot be reached or no worker starts.
    """
    layout = None if root_dir is None else Layout(absolute(root_dir))
    location = None if archive is None else str(archive)
    if layout is not None:
        layout.root.mkdir(parents=True, exist_ok=True)
        if archive is not None or (layout.root / "archive").exists():
            location = find_archive(layout, archive)
    root = () if layout is None else (str(layout.root),)
    read = () if layout is None else Needs.of(layout.root, location).to_read
    with open_session(cluster, progress) as session:
        views = look_at_workers(session.client, read, root)
        problems = find_problems(views)
        if location is not None:
            problems += _find_shortages(views, location)
        link = session.client.dashboard_link
    frame = pd.DataFrame([asdict(view) for view in views])
    return ClusterReport(link, ssh_line(link), frame, tuple(problems))


def _find_shortages(views: Iterable[WorkerView], location: str) -> list[str]:
    samples = discover(location).samples
    needed = largest_scan_bytes(samples)
    n_bytes = sum(ref.size for s in samples for ref in (s.volume, s.mask) if ref is not None)
    room = _ROOM_FOR_ARCHIVE * n_bytes
    problems = [
        f"{view.host} gives a worker {view.memory_bytes / 1e9:.1f} GB of memory, the largest scan "
        f"needs {needed / 1e9:.1f} GB"
        for view in views
        if 0 < view.memory_bytes < needed
    ]
    problems += [
        f"{view.host} has {view.free_bytes / 1e9:.1f} GB of free disk, about {room / 1e9:.1f} GB "
        "are needed"
        for view in views
        if 0 < view.free_bytes < room
    ]
    return list(dict.fromkeys(problems))
