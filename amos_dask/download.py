"""``download``: a dataset's files from their publishers or a mirror, complete or not at all."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from amos_dask.archive.sources import compare_with_published
from amos_dask.datasets import DEFAULT, DatasetDefinition, PublishedFile, find_definition
from amos_dask.engine.events import BytesDone, Listener, TaskEnded, WorkEnded, WorkStarted
from amos_dask.engine.session import open_session
from amos_dask.errors import AmosDaskError, ArchiveError, number_of
from amos_dask.file_refs import shown
from amos_dask.results import CommandResult
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.staging import remove_if_empty, require_room
from amos_dask.root.working import working_on
from amos_dask.transfer import TO_COME, fetch, partial_path

_PLAIN_URL = re.compile(r"(?i:https?)://([\w.-]+|\[[\da-fA-F:.]+\])(:[1-9]\d{0,4})?(/[^?#]*)?")


def download(
    root_dir: str | Path,
    *,
    dataset: str | Path | None = None,
    tasks: Sequence[str] = (),
    unlabelled: bool = False,
    source: str | None = None,
    no_lock: bool = False,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Download AMOS22 (``amos22.zip`` and its metadata csv), or tasks of the Decathlon.

    What was begun is gone on with, by the next call as well. A file appears under its name when
    its size and MD5 are the published ones; nothing that is there is overwritten.

    Parameters
    ----------
    root_dir : str or Path
        Gets the files; `run` finds them there.
    dataset : str or Path, optional
        One of those that `list_datasets` gives, or the YAML file of a definition; default AMOS22.
    tasks : sequence of str
        Of a dataset with a file a task: which, by name (``liver``) or number.
    unlabelled : bool
        Download the scans without labels as well.
    source : str, optional
        Base URL of a mirror that has the files under their names.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        With the files that were written.

    Raises
    ------
    AmosDaskError
        When a file cannot be had or is not as published, when a file is in the way, or the disk
        has not enough room. Of a dataset that is not downloaded it says where to ask.

    Examples
    --------
    >>> import amos_dask
    >>> amos_dask.download("data/AMOS22", source="ftp://a.org")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    amos_dask.errors.ArchiveError: ftp://a.org: only http:// and https:// URLs without user ...
    """
    root, dataset = absolute(root_dir), dataset or DEFAULT
    definition = find_definition(dataset)
    files = _choose(definition, str(dataset), tasks, unlabelled=unlabelled)
    if (published := definition.published_zip) is not None:
        files = _of_zenodo(definition, published, unlabelled=unlabelled)
    if source is not None:
        _require_base(source)
        files = [replace(file, where=_below(source, file.name)) for file in files]
    layout = Layout(root)
    with working_on(layout, no_lock=no_lock), open_session(None, progress) as session:
        missing = [file for file in files if not _is_there(file, root, session.listener)]
        require_room(root, sum(_n_bytes_to_come(file, root) for file in missing), TO_COME)
        unchecked = _fetch_all(missing, root, session.listener) if missing else []
    remove_if_empty(layout.state)  # a killed download has left it
    summary = f"{root}: {number_of(len(files), 'file')} complete"
    if n_there := len(files) - len(missing):
        summary += f", {n_there} of them from before"
    if unchecked:
        summary += f"; no checksum was to be had of {', '.join(unchecked)}"
    outputs = tuple(root / file.name for file in missing)
    return CommandResult(outputs, len(files), f"{summary}.")


def _choose(
    definition: DatasetDefinition, dataset: str, tasks: Sequence[str], *, unlabelled: bool
) -> list[PublishedFile]:
    """Return the published files of these tasks; raise where there are none to be had."""
    if not definition.published:
        get = f"get it {definition.access}" if definition.access else "name what you have"
        raise AmosDaskError(
            f"{dataset} is not downloaded by this program; {get}, and run it with --archive."
        )
    if unlabelled and not definition.unlabelled.published:
        raise AmosDaskError(f"{dataset} has no scans without labels; leave --unlabelled out.")
    if definition.published_tasks is None:
        if tasks:
            raise AmosDaskError(f"{dataset} is not published by task; leave --task out.")
        return list(definition.published.values())
    _require_base(definition.published_tasks.where)
    chosen = {task: definition.published_tasks.choose(task) for task in tasks}
    strange = [task for task, name in chosen.items() if name is None]
    if strange or not tasks:
        what = f"has no task {strange[0]!r}" if strange else "is downloaded by task"
        raise AmosDaskError(f"{dataset} {what}; name one or more with --task: {definition.access}.")
    return [file for name, file in definition.published.items() if name in chosen.values()]


def _of_zenodo(
    definition: DatasetDefinition, published: PublishedFile, *, unlabelled: bool
) -> list[PublishedFile]:
    """Return the files of a record of Zenodo, which tells the MD5 of each when it sends it."""
    parts, csv = urlsplit(published.where), definition.metadata
    base = parts._replace(path=f"/api{parts.path.rstrip('/')}/files").geturl()
    names = [csv.official_file] if csv is not None and csv.official_file else []
    names += definition.unlabelled.published if unlabelled else ()
    files = [*(PublishedFile(base, None, name=name) for name in names), published]
    return [replace(file, where=f"{_below(base, file.name)}/content") for file in files]


def _below(base: str, name: str) -> str:
    return f"{base.rstrip('/')}/{quote(name)}"


def _require_base(url: str) -> None:
    """Raise `ArchiveError` unless names of files can be added to this http or https URL."""
    if not _PLAIN_URL.fullmatch(url):
        raise ArchiveError(
            f"{shown(url)}: only http:// and https:// URLs without user names can be downloaded, "
            "and to which names of files can be added."
        )


def _is_there(file: PublishedFile, root: Path, listener: Listener) -> bool:
    """Return whether a file is complete already; raise when something else has its name."""
    path = root / file.name
    if not path.is_file():
        if os.path.lexists(path):
            raise AmosDaskError(f"{path}: is not a file; move it away.")
        return False
    if file.md5 is not None:
        tell = partial(BytesDone, "md5", file.name)
        issue = compare_with_published(str(path), file, lambda *n: listener(tell(*n)))
        if issue is not None:
            raise AmosDaskError(
                f"{path}: is there, but is not the published file ({issue.message}); it is not "
                "overwritten, move it away."
            )
    return True


def _n_bytes_to_come(file: PublishedFile, root: Path) -> int:
    path = partial_path(root / file.name)
    n_there = path.stat().st_size if path.is_file() else 0
    return max(0, file.n_bytes - n_there)


def _fetch_all(files: list[PublishedFile], root: Path, listener: Listener) -> list[str]:
    """Fetch files; return the names of those of which nobody tells the MD5."""
    unchecked = []
    listener(WorkStarted("download", len(files)))
    for file in files:
        start = time.perf_counter()
        if fetch(file, root / file.name, listener) is None:
            unchecked.append(file.name)
        listener(TaskEnded("download", file.name, False, 0, time.perf_counter() - start))
    listener(WorkEnded("download"))
    return unchecked
