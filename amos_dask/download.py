"""``download``: a dataset's files from their publishers or a mirror, complete or not at all."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import sleep
from urllib.parse import quote, urlsplit

from amos_dask.archive.recognise import require_outside_archives
from amos_dask.archive.sources import read_md5
from amos_dask.datasets import DEFAULT, DatasetDefinition, PublishedFile, find_definition
from amos_dask.engine.events import BytesDone, Listener, Notice, TaskEnded, WorkEnded, WorkStarted
from amos_dask.engine.session import open_session
from amos_dask.errors import AmosDaskError, ArchiveError, number_of, raise_on_sigterm
from amos_dask.file_refs import shown
from amos_dask.results import CommandResult
from amos_dask.root.layout import absolute
from amos_dask.root.staging import require_room
from amos_dask.transfer import TO_COME, PassingError, fetch, open_url, partial_path

# What the record says is known by heart as far as it matters: it is not waited for long.
RECORD_PAUSES_SECONDS = (1, 2)
_LARGEST_RECORD = 8 << 20
_MD5 = re.compile(r"(?:md5:)?([0-9a-f]{32})", re.IGNORECASE)


def download(
    root_dir: str | Path,
    *,
    dataset: str | Path | None = None,
    tasks: Sequence[str] = (),
    unlabelled: bool = False,
    source: str | None = None,
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
    if source is not None:
        _require_base(source)
    require_outside_archives(root)
    if root.exists() and not root.is_dir():
        raise AmosDaskError(f"{root}: is not a folder.")
    with raise_on_sigterm(), open_session(None, progress) as session:
        if (published := definition.published_zip) is not None:
            files = _of_record(definition, published, source, unlabelled, session.listener)
        if source is not None:
            files = [replace(file, where=_below(source, file.name)) for file in files]
        missing = [file for file in files if not _is_there(file, root, session.listener)]
        require_room(root, sum(_n_bytes_to_come(file, root) for file in missing), TO_COME)
        if missing:
            _fetch_all(missing, root, session.listener)
    summary = f"{root}: {number_of(len(files), 'file')} complete"
    if n_there := len(files) - len(missing):
        summary += f", {n_there} of them from before"
    if unchecked := [file.name for file in files if file.md5 is None]:
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


def _of_record(
    definition: DatasetDefinition,
    published: PublishedFile,
    mirror: str | None,
    unlabelled: bool,
    listener: Listener,
) -> list[PublishedFile]:
    """Return the files to have; where the record does not answer, with what is known by heart."""
    csv = definition.metadata
    names = [csv.official_file] if csv is not None and csv.official_file else []
    names.append(published.name)
    try:
        listed = _read_record(published.where, () if mirror else RECORD_PAUSES_SECONDS)
    except ArchiveError as error:
        listener(Notice(f"{error} Going by what is known of {published.name}.", "warning"))
        listed = {}
    if unlabelled:
        of_record = [name for name in definition.unlabelled.published if name in listed]
        if not of_record and mirror is None:
            raise ArchiveError(
                f"{published.where}: lists no unlabelled scans; name a mirror that has them with "
                "--from."
            )
        names += of_record or definition.unlabelled.published
    listed[published.name] = _with_known_facts(listed.get(published.name), published)
    files = (listed.get(name, PublishedFile("", None, name=name)) for name in names)
    base = f"{_api(published.where)}/files"
    return [replace(file, where=f"{_below(base, file.name)}/content") for file in files]


def _below(base: str, name: str) -> str:
    return f"{base.rstrip('/')}/{quote(name)}"


def _with_known_facts(listed: PublishedFile | None, known: PublishedFile) -> PublishedFile:
    if listed is None:
        return known
    if listed.md5 not in (None, known.md5):
        raise ArchiveError(
            f"{known.where}: lists {known.name} with the MD5 {listed.md5}, not the {known.md5} "
            "that this program was made for; look for a newer version of amos-dask."
        )
    return replace(listed, md5=known.md5) if listed.n_bytes else known


def _read_record(page: str, pauses_seconds: Sequence[float]) -> dict[str, PublishedFile]:
    """Return the files that a Zenodo record lists, by name."""
    for pause in (*pauses_seconds, None):
        try:
            with open_url(_api(page)) as reply:
                content = reply.read(_LARGEST_RECORD)
            break
        except PassingError as error:
            if pause is None:
                raise ArchiveError(f"{shown(page)}: {error}.") from error
            sleep(pause)
    files = {}
    try:
        for entry in json.loads(content)["files"]:
            name, size = str(entry["key"]), entry.get("size")
            md5 = _MD5.fullmatch(str(entry.get("checksum")))
            n_bytes = size if type(size) is int and size >= 0 else 0
            files[name] = PublishedFile("", md5 and md5[1].lower(), n_bytes, name=name)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(f"{shown(page)}: its list of files is not understood.") from error
    return files


def _api(page: str) -> str:
    parts = urlsplit(page)
    return parts._replace(path="/api" + parts.path.rstrip("/")).geturl()


def _require_base(url: str) -> None:
    """Raise `ArchiveError` unless names of files can be added to this http or https URL."""
    usable = False
    with suppress(ValueError):
        parts = urlsplit(url)
        usable = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        usable = usable and parts.scheme in ("http", "https")
    if not usable:
        raise ArchiveError(
            f"{shown(url)}: only http:// and https:// URLs without user names can be downloaded."
        )
    if re.search(r"[?#]", url):
        raise ArchiveError(f"{shown(url)}: must be a URL to which names of files can be added.")


def _is_there(file: PublishedFile, root: Path, listener: Listener) -> bool:
    """Return whether a file is complete already; raise when something else has its name."""
    path = root / file.name
    if not path.is_file():
        if path.is_symlink() or path.exists():
            raise AmosDaskError(f"{path}: is not a file; move it away.")
        return False
    n_bytes = path.stat().st_size
    is_published = file.fits(n_bytes)
    told = f"{n_bytes} bytes; published are {file.n_bytes}"
    is_size_enough = file.n_bytes and not file.n_bytes_uncertain
    if is_published and file.md5 is not None and not is_size_enough:
        with path.open("rb") as opened:
            md5 = read_md5(opened, lambda *n: listener(BytesDone("md5", file.name, *n)))
        is_published, told = md5 == file.md5, f"its MD5 is {md5}; published is {file.md5}"
    if not is_published:
        raise AmosDaskError(
            f"{path}: is there, but is not the published file ({told}); it is not overwritten, "
            "move it away."
        )
    return True


def _n_bytes_to_come(file: PublishedFile, root: Path) -> int:
    partial = partial_path(root / file.name)
    n_there = partial.stat().st_size if partial.is_file() else 0
    return max(0, file.n_bytes - n_there)


def _fetch_all(files: list[PublishedFile], root: Path, listener: Listener) -> None:
    listener(WorkStarted("download", len(files)))
    for file in files:
        start = time.perf_counter()
        fetch(file, root / file.name, listener)
        listener(TaskEnded("download", file.name, False, 0, time.perf_counter() - start))
    listener(WorkEnded("download"))
