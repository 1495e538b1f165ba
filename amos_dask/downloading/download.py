"""``download``: the dataset's files from Zenodo or a mirror, complete or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from amos_dask.datasets import AMOS22, PublishedZip
from amos_dask.downloading.http import Patience, url_of
from amos_dask.downloading.partial import PartialFile, partial_path
from amos_dask.downloading.published import compare_with_published
from amos_dask.downloading.record import PublishedFile, ask_record, file_url
from amos_dask.downloading.transfer import Transfer, require_space
from amos_dask.engine.events import Listener, Notice, PhaseEnded, PhaseStarted, TaskEnded
from amos_dask.engine.session import open_session
from amos_dask.errors import AmosDaskError, ArchiveError
from amos_dask.results import CommandResult
from amos_dask.root.layout import absolute
from amos_dask.root.working import raise_on_sigterm

PATIENCE = Patience()
# What the record says is known by heart as far as it matters: it is not waited for long.
_RECORD_ATTEMPTS, _RECORD_TIMEOUT_SECONDS = 3, 10.0


@dataclass(frozen=True)
class _Source:
    """Where files come from, and what is known of them.

    Parameters
    ----------
    published : PublishedZip
        The dataset's zip, as it is known without asking.
    listed : mapping
        What the record lists, by name; empty where it did not answer.
    mirror : str or None
        Base URL to take the files from instead.
    """

    published: PublishedZip
    listed: Mapping[str, PublishedFile]
    mirror: str | None

    def file(self, name: str) -> PublishedFile:
        """Return a file, as far as it is known."""
        default = PublishedFile(name, file_url(self.published.where, name))
        file = self.listed.get(name, default)
        if name == self.published.name:
            file = self._with_known_facts(file)
        return file if self.mirror is None else replace(file, url=url_of(self.mirror, name))

    def _with_known_facts(self, file: PublishedFile) -> PublishedFile:
        known = self.published
        if file.md5 not in (None, known.md5):
            raise ArchiveError(
                f"{known.where}: lists {file.name} with the MD5 {file.md5}, not the {known.md5} "
                "that this program was made for; look for a newer version of amos-dask."
            )
        if file.n_bytes is None:
            file = replace(file, n_bytes=known.n_bytes, n_bytes_uncertain=known.n_bytes_uncertain)
        return replace(file, md5=known.md5)


def download(
    root_dir: str | Path,
    *,
    unlabelled: bool = False,
    source: str | None = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Download AMOS22: ``amos22.zip`` and its metadata csv, from Zenodo or a mirror.

    What was begun is gone on with, by the next call as well. A file appears under its name when
    its size and MD5 are the published ones; nothing that is there is overwritten.

    Parameters
    ----------
    root_dir : str or Path
        Gets the files; `run` finds them there.
    unlabelled : bool
        Download the scans without labels as well.
    source : str, optional
        Base URL of a mirror that has the files under their names.
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
        has not enough room.
    """
    root = absolute(root_dir)
    if AMOS22.published_zip is None or AMOS22.metadata is None:
        raise AmosDaskError(f"{AMOS22.name} is not published as one zip file.")
    if source is not None:
        url_of(source, AMOS22.published_zip.name)  # raises when it is of no use
    if root.exists() and not root.is_dir():
        raise AmosDaskError(f"{root}: is not a folder.")
    with raise_on_sigterm(), open_session(None, progress) as session:
        where = _ask(AMOS22.published_zip, source, session.listener)
        names = [AMOS22.metadata.official_file, AMOS22.published_zip.name]
        if unlabelled:
            names += _unlabelled_names(where)
        files = [where.file(name) for name in names]
        missing = [f for f in files if not _is_there(f, root, where, session.listener)]
        require_space(root, sum(_n_bytes_to_come(file, root) for file in missing))
        _fetch_all(missing, root, session.listener)
    return _result(root, files, missing)


def _ask(published: PublishedZip, mirror: str | None, listener: Listener) -> _Source:
    """Ask the record what it lists; without an answer, what is known by heart must do."""
    n_attempts = _RECORD_ATTEMPTS if mirror is None else 1
    patience = replace(
        PATIENCE,
        n_first_attempts=n_attempts,
        timeout_seconds=min(PATIENCE.timeout_seconds, _RECORD_TIMEOUT_SECONDS),
    )
    try:
        listed = ask_record(published.where, patience)
    except ArchiveError as error:
        listener(Notice(f"{error} Going by what is known of {published.name}."))
        listed = {}
    return _Source(published, listed, mirror)


def _unlabelled_names(where: _Source) -> list[str]:
    """Return the files of unlabelled scans: those that the record lists, else what a mirror has."""
    names = AMOS22.unlabelled.published
    listed = [name for name in names if name in where.listed]
    if not listed and where.mirror is None:
        raise ArchiveError(
            f"{where.published.where}: lists no unlabelled scans; name a mirror that has them "
            "with --from."
        )
    return listed or list(names)


def _is_there(file: PublishedFile, root: Path, where: _Source, listener: Listener) -> bool:
    """Return whether a file is complete already; raise when something else has its name."""
    path = root / file.name
    if not path.is_file():
        if path.is_symlink() or path.exists():
            raise AmosDaskError(f"{path}: is not a file; move it away.")
        return False
    n_bytes = path.stat().st_size
    is_published = file.fits(n_bytes)
    if is_published and file.n_bytes_uncertain:  # the size alone does not tell
        is_published = compare_with_published(str(path), where.published, listener) is None
    if not is_published:
        raise AmosDaskError(
            f"{path}: is there, but is not the published file ({n_bytes} bytes; published are "
            f"{file.n_bytes}); it is not overwritten, move it away."
        )
    return True


def _n_bytes_to_come(file: PublishedFile, root: Path) -> int:
    partial = partial_path(root / file.name)
    n_there = partial.stat().st_size if partial.is_file() else 0
    return max(0, (file.n_bytes or 0) - n_there)


def _fetch_all(files: list[PublishedFile], root: Path, listener: Listener) -> None:
    if not files:
        return
    listener(PhaseStarted("download", len(files)))
    for file in files:
        start = time.perf_counter()
        _fetch(file, root, listener)
        listener(TaskEnded("download", file.name, False, 0, time.perf_counter() - start))
    listener(PhaseEnded("download"))


def _fetch(file: PublishedFile, root: Path, listener: Listener) -> None:
    with PartialFile(root / file.name) as partial:
        Transfer(file, partial, PATIENCE, listener).run()
        try:
            partial.publish()
        except FileExistsError as error:
            raise AmosDaskError(
                f"{partial.final}: has appeared in the meantime; it is not overwritten, move it "
                "away and run the same command again."
            ) from error


def _result(root: Path, files: list[PublishedFile], fetched: list[PublishedFile]) -> CommandResult:
    n_there = len(files) - len(fetched)
    summary = f"{root}: {len(files)} files complete"
    if n_there:
        summary += f", {n_there} of them from before"
    unchecked = [file.name for file in files if file.md5 is None]
    if unchecked:
        summary += f"; no checksum was to be had of {', '.join(unchecked)}"
    outputs = tuple(root / file.name for file in fetched)
    return CommandResult(outputs, len(files), f"{summary}.")
