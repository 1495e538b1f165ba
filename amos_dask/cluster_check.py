"""``cluster check``: whether a cluster can do the work, said before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.archive.discover import discover
from amos_dask.datasets import DatasetDefinition, find_definition
from amos_dask.engine import ClusterOptions
from amos_dask.engine.check import WorkerView, find_problems, look_at_workers, ssh_line
from amos_dask.engine.connect import count_workers
from amos_dask.engine.events import Listener, Notice
from amos_dask.engine.session import Needs, open_session
from amos_dask.errors import AmosDaskError
from amos_dask.records import Sample
from amos_dask.root.choices import find_archive, layout_for
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.receipts import Receipts
from amos_dask.sample.estimates import largest_scan_bytes

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
    dataset : str or Path, optional
        ``amos22``, ``ct-org``, ``decathlon``, or the path of a definition (YAML); by default what
        ROOT_DIR holds already, else AMOS22.
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
    layout = None if root_dir is None else layout_for(absolute(root_dir), dataset)
    definition = find_definition(dataset or "amos22") if layout is None else layout.dataset
    location = _find_location(layout, archive)
    write = () if layout is None else (str(layout.root),)
    read = Needs.of(Path(), location).to_read
    with _folder_to_be(layout), open_session(cluster, progress) as session:
        expected = _expected_workers(cluster)
        client = session.client
        session.listener(Notice("waiting for the workers"))
        views = look_at_workers(client, read, write, n_workers=expected)
        problems = find_problems(views)
        if len(views) < expected:
            problems.append(f"{len(views)} of {expected} workers have started")
        if location is not None:
            problems += _find_shortages(views, location, definition, layout)
        link = client.dashboard_link
    frame = pd.DataFrame([asdict(view) for view in views])
    return ClusterReport(link, ssh_line(link), frame, tuple(problems))


@contextmanager
def _folder_to_be(layout: Layout | None) -> Iterator[None]:
    """Make ROOT_DIR for the time of the look, since others cannot see what is not there."""
    root = None if layout is None else layout.root
    made = [] if root is None else [path for path in (root, *root.parents) if not path.exists()]
    try:
        if root is not None:
            root.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in made:
            with suppress(OSError):  # somebody has put something into it
                path.rmdir()


def _find_location(layout: Layout | None, archive: str | Path | None) -> str | None:
    """Return where the archive is, by default the one that `run` would take; None without one."""
    if layout is None:
        return None if archive is None else str(archive)
    try:
        return find_archive(layout, archive)
    except AmosDaskError:
        return None


def _expected_workers(cluster: Any) -> int:
    """Return how many workers were asked for; 1 where others have started them."""
    if cluster is None or isinstance(cluster, (ClusterOptions, str)):
        options = ClusterOptions(cluster) if isinstance(cluster, str) else cluster
        return count_workers(options or ClusterOptions()) or 1
    return 1


def _find_shortages(
    views: Sequence[WorkerView],
    location: str,
    definition: DatasetDefinition,
    layout: Layout | None,
) -> list[str]:
    samples = discover(location, definition=definition).samples
    needed = largest_scan_bytes(samples)
    problems = [
        f"{view.host} gives a worker {view.memory_bytes / 1e9:.1f} GB of memory, the largest scan "
        f"needs {needed / 1e9:.1f} GB"
        for view in views
        if 0 < view.memory_bytes < needed
    ]
    if layout is not None:
        room = _ROOM_FOR_ARCHIVE * _bytes_left(samples, layout)
        problems += [
            f"{view.host} has {view.free_bytes / 1e9:.1f} GB of free disk, about "
            f"{room / 1e9:.1f} GB are needed"
            for view in views
            if view.free_bytes < room and not view.failure and _sees(view, layout)
        ]
    return list(dict.fromkeys(problems))


def _sees(view: WorkerView, layout: Layout) -> bool:
    """Return whether a worker could look at ROOT_DIR."""
    return len(view.versions) > 1 and str(layout.root) not in view.unseen


def _bytes_left(samples: Iterable[Sample], layout: Layout) -> int:
    """Return the size in the archive of the samples that have no receipt yet."""
    done = set(Receipts(layout).sample_ids())
    refs = [ref for s in samples if s.sample_id not in done for ref in (s.volume, s.mask)]
    return sum(ref.size for ref in refs if ref is not None)
