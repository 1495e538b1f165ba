"""What a Zenodo record says of its files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from amos_dask.downloading.http import (
    Patience,
    TransferError,
    open_reply,
    require_http,
    shown,
    url_of,
)
from amos_dask.errors import ArchiveError

_LARGEST_RECORD = 8 << 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,199}")
_MD5 = re.compile(r"(?:md5:)?([0-9a-f]{32})", re.IGNORECASE)
_LINKS = ("content", "download", "self")  # self describes the file where there is content


@dataclass(frozen=True)
class PublishedFile:
    """A file to download, as its publishers describe it.

    Parameters
    ----------
    name : str
        A plain name, never a path.
    url : str
        Where it is.
    n_bytes : int or None
        Its size; None when nobody tells.
    n_bytes_uncertain : int
        By how much that may be off.
    md5 : str or None
        Its MD5; None when nobody tells.
    """

    name: str
    url: str
    n_bytes: int | None = None
    n_bytes_uncertain: int = 0
    md5: str | None = None

    @property
    def exact_n_bytes(self) -> int | None:
        """The size, if it is known to the byte."""
        return None if self.n_bytes_uncertain else self.n_bytes

    @property
    def least_n_bytes(self) -> int:
        """The smallest size that it can have."""
        return (self.n_bytes or 0) - self.n_bytes_uncertain

    def fits(self, n_bytes: int) -> bool:
        """Return whether a file of this size can be the published one."""
        return self.n_bytes is None or abs(n_bytes - self.n_bytes) <= self.n_bytes_uncertain


def file_url(page: str, name: str) -> str:
    """Return where a record's page has a file of this name."""
    return url_of(f"{_api(page)}/files", name) + "/content"


def ask_record(page: str, patience: Patience) -> dict[str, PublishedFile]:
    """Return the files that a record lists, by name.

    Parameters
    ----------
    page : str
        The record's page, such as https://zenodo.org/records/7262581.
    patience : Patience
        How long to try.

    Raises
    ------
    ArchiveError
        When the record cannot be had, or is not understood.
    """
    content = _read_patiently(_api(page), patience)
    try:
        entries = list(_entries(json.loads(content)))
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise ArchiveError(f"{shown(page)}: its list of files is not understood.") from error
    files = [_file(entry, page) for entry in entries if isinstance(entry, Mapping)]
    return {file.name: file for file in files if file is not None}


def _read_patiently(url: str, patience: Patience) -> bytes:
    n_failures = 0
    while True:
        try:
            return _read(url, patience.timeout_seconds)
        except TransferError as error:
            n_failures += 1
            pause = patience.pause(n_failures, error, first=True)
            if pause is None:
                raise ArchiveError(f"{shown(url)}: {error}.") from error
            patience.sleep(pause)


def _read(url: str, timeout_seconds: float) -> bytes:
    content = b""
    with open_reply(url, timeout_seconds=timeout_seconds) as reply:
        for block in reply.blocks:
            content += block
            if len(content) > _LARGEST_RECORD:
                raise ArchiveError(f"{shown(url)}: larger than {_LARGEST_RECORD} bytes.")
    return content


def _api(page: str) -> str:
    parts = urlsplit(page)
    return parts._replace(path="/api" + parts.path.rstrip("/")).geturl()


def _entries(record: Mapping[str, Any]) -> Iterable[Any]:
    """Return the descriptions of files: a list, or by name in the newer form."""
    files = record.get("files")
    if isinstance(files, Mapping):
        files = files.get("entries")
    if isinstance(files, Mapping):
        return files.values()
    return files if isinstance(files, list) else []


def _file(entry: Mapping[str, Any], page: str) -> PublishedFile | None:
    """Return a file of the record; None where its name is not one, or leads somewhere."""
    name = entry.get("key") or entry.get("filename")
    if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
        return None
    size = entry.get("size", entry.get("filesize"))
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    md5 = _MD5.fullmatch(str(entry.get("checksum")))
    return PublishedFile(
        name,
        _link(entry.get("links")) or file_url(page, name),
        n_bytes=size if known else None,
        md5=None if md5 is None else md5[1].lower(),
    )


def _link(links: Any) -> str | None:
    for name in _LINKS:
        url = links.get(name) if isinstance(links, Mapping) else None
        if isinstance(url, str):
            try:
                require_http(url)
            except ArchiveError:
                continue
            return url
    return None
