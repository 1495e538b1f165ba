"""The downloaded zip against the published one."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Generator
from contextlib import closing

from amos_dask.archive.sources import open_location
from amos_dask.datasets import PublishedZip
from amos_dask.downloading.http import shown
from amos_dask.engine.events import Listener, TaskEnded, WorkEnded, WorkStarted
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue, make_issue

BLOCK_BYTES = 1 << 26
_PHASE = "md5"


def compare_with_published(
    location: str, published: PublishedZip, listener: Listener
) -> Issue | None:
    """Compare a zip file with the published one: its size, then its MD5.

    Parameters
    ----------
    location : str
        Path or URL of the zip.
    published : PublishedZip
        What it should be.
    listener : callable
        Is told of progress, block by block.

    Returns
    -------
    Issue or None
        None when the MD5 is the published one. A zip that is too small is not read.

    Raises
    ------
    ArchiveError
        When the zip cannot be read.
    """
    try:
        n_bytes = count_bytes(location)
        if n_bytes is not None and is_too_small(n_bytes, published):
            message = describe_progress(n_bytes, published)
            return make_issue("incomplete_download", message, file=file_name(location))
        md5 = _md5(location, n_bytes or published.n_bytes, listener)
    except FileNotFoundError as error:
        raise ArchiveError(f"{shown(location)}: there is no such zip file.") from error
    except OSError as error:
        words = error.strerror or error
        raise ArchiveError(f"{shown(location)}: cannot be read ({words}).") from error
    if md5 == published.md5:
        return None
    message = f"its MD5 is {md5}, published is {published.md5} at {published.where}"
    return make_issue("wrong_checksum", message, file=file_name(location))


def file_name(location: str) -> str:
    """Return the last part of a path or URL, as it may be shown."""
    return shown(location).rpartition("/")[2]


def count_bytes(location: str) -> int | None:
    """Return the size of a file; None where a server does not tell."""
    with open_location(location) as file:
        try:
            return file.seek(0, io.SEEK_END)
        except ValueError:
            return None


def is_too_small(n_bytes: int, published: PublishedZip) -> bool:
    """Return whether a file of this size cannot be the whole published zip."""
    return n_bytes < published.n_bytes - published.n_bytes_uncertain


def describe_progress(n_bytes: int, published: PublishedZip) -> str:
    """Return how far a download is."""
    share = 100 * n_bytes // published.n_bytes
    return (
        f"holds {n_bytes / 1e9:.2f} of the published {published.n_bytes / 1e9:.1f} GB ({share} %); "
        f"let the download from {published.where} go on"
    )


def _md5(location: str, n_bytes: int, listener: Listener) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # what the publishers chose
    listener(WorkStarted(_PHASE, -(-n_bytes // BLOCK_BYTES)))
    start = time.perf_counter()
    with closing(_blocks(location)) as blocks:
        for number, block in enumerate(blocks, start=1):
            digest.update(block)
            now = time.perf_counter()
            listener(TaskEnded(_PHASE, f"block {number}", False, 0, now - start))
            start = now
    listener(WorkEnded(_PHASE))
    return digest.hexdigest()


def _blocks(location: str) -> Generator[bytes, None, None]:
    with open_location(location) as file:
        while block := file.read(BLOCK_BYTES):
            yield block
