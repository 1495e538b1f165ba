"""A downloaded file held against the published one: its size, its MD5."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from amos_dask.archive.locations import file_name
from amos_dask.archive.sources import count_bytes, open_archive
from amos_dask.datasets import PublishedFile
from amos_dask.issues import Issue, make_issue

BLOCK_BYTES = 1 << 24


def compare_with_published(
    location: str, published: PublishedFile, tell: Callable[[int, int | None], None]
) -> Issue | None:
    """Return in what a zip or tar differs from the published one: in its size, else in its MD5.

    Raises `ArchiveError` when it cannot be read.
    """
    issue = partial(make_issue, file=file_name(location))
    if progress := describe_progress(location, published):
        return issue("incomplete_download", progress)
    with open_archive(location, location[-3:]) as file:
        md5 = read_md5(file, tell)
    if md5 == published.md5:
        return None
    wrong = f"its MD5 is {md5}, published is {published.md5} at {published.where}"
    return issue("wrong_checksum", wrong)


def describe_progress(location: str, published: PublishedFile) -> str:
    """Return how far the download of a zip or tar is, for people; empty where it may be complete.

    Raises `ArchiveError` when it cannot be read.
    """
    with open_archive(location, location[-3:]) as file:
        n_bytes = count_bytes(file)
    if n_bytes is None or n_bytes >= published.n_bytes - published.n_bytes_uncertain:
        return ""
    share = 100 * n_bytes // published.n_bytes
    return (
        f"holds {n_bytes / 1e9:.2f} of the published {published.n_bytes / 1e9:.1f} GB ({share} %); "
        f"let the download from {published.where} go on"
    )


def read_md5(file: BinaryIO, tell: Callable[[int, int | None], None]) -> str:
    """Return the MD5 of an open file.

    After each block ``tell`` is told how many bytes were read, and of how many if that is known.
    """
    digest = hashlib.md5(usedforsecurity=False)  # what the publishers chose
    n_read, n_bytes = 0, count_bytes(file)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        n_read += len(block)
        tell(n_read, n_bytes)
    return digest.hexdigest()
