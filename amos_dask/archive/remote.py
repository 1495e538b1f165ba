"""Files at URLs: listed, and read in ranges, each tried until it has come."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from amos_dask.archive.faults import TransientError, no_parts, persist, scrubbed
from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError

# So much more than is read is fetched and kept: a request costs more than its bytes.
READ_AHEAD_BYTES = 1 << 14
LARGEST_READ_BYTES = 1 << 22  # for those who read on: one request, held in memory

_HTTP_TIMEOUT_SECONDS = {"sock_connect": 10.0, "sock_read": 30.0}
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}
_PASSWORD = re.compile(r"://[^/?#@:]*:[^/?#]*@")


class RemoteFile(io.RawIOBase):
    """A file at a URL, with fsspec's read-ahead cache.

    Parameters
    ----------
    url : str
        Where it is. A server that sends files only from the beginning gives one that cannot seek.

    Raises
    ------
    ArchiveError
        When there is no driver for this kind of URL.
    OSError
        When the file cannot be opened; ``strerror`` says why, without the URL.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._file = persist(partial(_open, url, READ_AHEAD_BYTES))
        self._size: int | None = None
        try:
            self._size = int(self._file.seek(0, io.SEEK_END))
            self._file.seek(0)
        except (TypeError, ValueError):
            pass  # it can only be streamed

    def tell(self) -> int:
        """Return where in the file the next byte is read."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the file.

        Raises
        ------
        io.UnsupportedOperation
            When the server sends files only from the beginning.
        """
        if self._size is None:
            raise no_parts()
        return int(self._file.seek(offset, whence))

    def read(self, size: int | None = -1) -> bytes:
        """Return that many bytes, fewer only at the end of the file or where it is streamed.

        Raises
        ------
        OSError
            When they cannot be had; ``strerror`` says why, without the URL.
        """
        wanted = -1 if size is None else size
        if self._size is not None:
            left = max(0, self._size - self.tell())
            wanted = left if wanted < 0 else min(wanted, left)
            try:
                return persist(partial(self._read_range, wanted))
            except io.UnsupportedOperation:
                if self.tell() > LARGEST_READ_BYTES:
                    raise
            self._stream()
        return persist(lambda: bytes(self._file.read(wanted)), only_once=True)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()

    def _read_range(self, n_bytes: int) -> bytes:
        start = self.tell()
        content = bytes(self._file.read(n_bytes))
        if len(content) < n_bytes:
            self._file.seek(start)
            raise ConnectionError("fewer bytes came than were asked for")
        return content

    def _stream(self) -> None:
        """Read on in a file that only comes as a whole, from its beginning."""
        left, self._size = self.tell(), None
        self._file.close()
        self._file = persist(partial(_open, self._url, 0))
        while left and (skipped := self.read(left)):
            left -= len(skipped)


def _open(url: str, read_ahead_bytes: int) -> Any:
    filesystem, path = connect(url)
    filesystem.invalidate_cache(path)  # what an earlier run in this process has seen
    return filesystem.open(path, "rb", block_size=read_ahead_bytes, cache_type="readahead")


def describe(url: str) -> Mapping[str, Any]:
    """Return what a file system tells of a file.

    Raises
    ------
    OSError
        When it tells nothing.
    """
    filesystem, path = connect(url)
    found: Mapping[str, Any] = persist(lambda: filesystem.info(path))
    return found


def list_folder(url: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return name, URL and description of every file below a folder.

    Raises
    ------
    ArchiveError
        When the folder cannot be listed.
    """
    filesystem, root = connect(url)

    def find() -> Mapping[str, Mapping[str, Any]]:
        filesystem.invalidate_cache()
        found: Mapping[str, Mapping[str, Any]] = filesystem.find(root, detail=True)
        return found

    try:
        found = persist(find)
    except OSError as error:
        raise ArchiveError(f"{shown(url)}: cannot be listed ({error.strerror}).") from error
    prefix = root.rstrip("/") + "/"
    return [
        (name.removeprefix(prefix), str(filesystem.unstrip_protocol(name)), entry)
        for name, entry in found.items()
        if not name.endswith("/")  # what stands for an empty folder
    ]


def list_beside(url: str) -> list[tuple[str, str]]:
    """Return name and URL of the files beside one; none where there are no listings.

    Raises
    ------
    ArchiveError
        When the server fails.
    """
    filesystem, path = connect(url)
    folder = path.rstrip("/").rpartition("/")[0]

    def list_names() -> list[str]:
        filesystem.invalidate_cache()
        return sorted(filesystem.ls(folder, detail=False))

    try:
        names = persist(list_names)
    except TransientError as error:  # not "there is nothing": it would change the result
        raise ArchiveError(
            f"{shown(url)}: what lies beside it cannot be listed ({error.strerror}); name the "
            "metadata csv with --labeled_data_meta."
        ) from error
    except OSError:
        return []
    return [(name.rpartition("/")[2], str(filesystem.unstrip_protocol(name))) for name in names]


def connect(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises
    ------
    ArchiveError
        When there is no driver for this kind of URL, or the URL holds a password.
    """
    import fsspec  # not needed for local archives

    if _PASSWORD.search(url):
        raise ArchiveError(
            f"{shown(url)}: a URL must not hold a password; credentials belong where the driver "
            "looks for them, see 'Remote archives' in the README."
        )
    protocol = url.partition("://")[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        how = f"'pip install \".[{extra}]\"' in the checkout of amos-dask, also on the workers"
        how = how if extra else str(error)
        message = f"{shown(url)}: there is no driver for {protocol}:// here; {how}."
        raise ArchiveError(message) from error
    except ValueError as error:
        raise ArchiveError(f"{shown(url)}: {scrubbed(error)}.") from error
    # Attempts are made here, not by the driver as well; a silent server is not waited for long.
    if "s3" in filesystem.protocol:
        filesystem.retries = 1
        once = {"retries": {"total_max_attempts": 1}}
        filesystem.config_kwargs = {**filesystem.config_kwargs, **once}
    elif "http" in filesystem.protocol:
        from aiohttp import ClientTimeout

        timeout = {"timeout": ClientTimeout(**_HTTP_TIMEOUT_SECONDS)}
        filesystem.client_kwargs = {**timeout, **filesystem.client_kwargs}
    return filesystem, path
