"""A downloaded zip held against the published one: its size, its MD5."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

from amos_dask.archive.locations import shown
from amos_dask.archive.sources import open_location
from amos_dask.datasets import PublishedZip
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue, make_issue

BLOCK_BYTES = 1 << 24


def compare_with_published(
    location: str, published: PublishedZip, tell: Callable[[int, int], None]
) -> Issue | None:
    """Compare a zip file with the published one: its size, then its MD5.

    Parameters
    ----------
    location : str
        Path or URL of the zip.
    published : PublishedZip
        What it should be.
    tell : callable
        Is told how many bytes have been read, and of how many, block by block.

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
        total = n_bytes or published.n_bytes
        md5 = read_md5(location, lambda n_read: tell(n_read, total))
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
    """Return the size of a file; None where a server does not tell.

    Raises
    ------
    OSError
        When the file cannot be opened.
    """
    with open_location(location) as file:
        try:
            return file.seek(0, io.SEEK_END)
        except ValueError:
            return None


def is_too_small(n_bytes: int, published: PublishedZip) -> bool:
    """Return whether a file of this size cannot be the whole published zip."""
    return n_bytes < published.n_bytes - published.n_bytes_uncertain


def describe_progress(n_bytes: int, published: PublishedZip) -> str:
    """Return how far a download is, for people."""
    share = 100 * n_bytes // published.n_bytes
    return (
        f"holds {n_bytes / 1e9:.2f} of the published {published.n_bytes / 1e9:.1f} GB ({share} %); "
        f"let the download from {published.where} go on"
    )


def read_md5(location: str, tell: Callable[[int], None]) -> str:
    """Return the MD5 of a file.

    Parameters
    ----------
    location : str
        Path or URL.
    tell : callable
        Is told how many bytes have been read, block by block.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)  # what the publishers chose
    n_read = 0
    with open_location(location) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            n_read += len(block)
            tell(n_read)
    return digest.hexdigest()
