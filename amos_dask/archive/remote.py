"""Files at URLs: listed, and read in ranges."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from amos_dask.archive.faults import TransientError, no_parts, once, persist, scrubbed
from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError

# Nothing smaller is asked for: a request costs more than its bytes. Nothing larger is held.
SMALLEST_RANGE_BYTES = 1 << 14
LARGEST_RANGE_BYTES = 1 << 22

_HTTP_TIMEOUT_SECONDS = {"sock_connect": 10.0, "sock_read": 30.0}
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}
_PASSWORD = re.compile(r"://[^/?#@:]*:[^/?#]*@")


class RemoteFile(io.RawIOBase):
    """A file at a URL: what is read is fetched in ranges, each until it has come.

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
        self._file, self._size = persist(lambda: _open(url))
        self._position = 0
        self._kept, self._kept_from = b"", 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether any part of the file can be had."""
        return self._size is not None

    def tell(self) -> int:
        """Return where in the file the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the file.

        Raises
        ------
        io.UnsupportedOperation
            When the server sends files only from the beginning.
        """
        if self._size is None:
            raise no_parts()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a place before the beginning of the file")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return that many bytes, fewer only at the end of the file.

        Raises
        ------
        OSError
            When they cannot be had; ``strerror`` says why, without the URL.
        """
        wanted = -1 if size is None else size
        if self._size is not None:
            left = max(0, self._size - self._position)
            wanted = left if wanted < 0 else min(wanted, left)
        pieces = []
        while wanted and (piece := self._next(wanted)):
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece) if wanted > 0 else 0
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._kept = b""
            self._file.close()
        super().close()

    def _next(self, wanted: int) -> bytes:
        if self._size is None:
            return once(lambda: bytes(self._file.read(wanted)))
        offset = self._position - self._kept_from
        if not 0 <= offset < len(self._kept):
            try:
                self._fetch(wanted, self._size)
            except io.UnsupportedOperation:
                if self._position > LARGEST_RANGE_BYTES:
                    raise
                self._stream()
                return self._next(wanted)
            offset = self._position - self._kept_from
        piece = self._kept[offset : offset + wanted]
        if len(self._kept) > SMALLEST_RANGE_BYTES and offset + wanted >= len(self._kept):
            self._kept = b""
        return piece

    def _fetch(self, wanted: int, size: int) -> None:
        # At the end of the file what lies before is wanted as well: it is where zips begin.
        start = min(self._position, max(0, size - SMALLEST_RANGE_BYTES))
        end = self._position + min(max(wanted, SMALLEST_RANGE_BYTES), LARGEST_RANGE_BYTES)
        self._kept = b""
        self._kept = persist(lambda: _read_range(self._file, start, min(end, size)))
        self._kept_from = start

    def _stream(self) -> None:
        """Read on in a file that only comes as a whole, from its beginning."""
        self._file.close()
        filesystem, path = connect(self._url)
        self._size, self._kept = None, b""
        self._file = persist(lambda: filesystem.open(path, "rb", block_size=0))
        left = self._position
        while left and (skipped := once(partial(self._file.read, left))):
            left -= len(skipped)


def _open(url: str) -> tuple[Any, int | None]:
    """Open a file that fetches exactly what is read of it; None where it can only be streamed."""
    filesystem, path = connect(url)
    filesystem.invalidate_cache(path)  # what an earlier run in this process has seen
    file = filesystem.open(path, "rb", cache_type="none")
    try:
        size = int(file.seek(0, io.SEEK_END))
    except (TypeError, ValueError):
        return file, None
    return file, size


def _read_range(file: Any, start: int, end: int) -> bytes:
    file.seek(start)
    content = bytes(file.read(end - start))
    if len(content) < end - start:
        raise ConnectionError("fewer bytes came than were asked for")
    return content


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
        filesystem, path = fsspec.core.url_to_fs(url, **_options(protocol, fsspec.config.conf))
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        how = f"'pip install \".[{extra}]\"' in the checkout of amos-dask, also on the workers"
        how = how if extra else str(error)
        message = f"{shown(url)}: there is no driver for {protocol}:// here; {how}."
        raise ArchiveError(message) from error
    except ValueError as error:
        raise ArchiveError(f"{shown(url)}: {scrubbed(error)}.") from error
    if _is_s3(protocol):
        filesystem.retries = 1
    return filesystem, path


def _options(protocol: str, configured: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a driver's options: attempts are ours, and a silent server is not waited for long."""
    if _is_s3(protocol):
        theirs = _configured("config_kwargs", ("s3", "s3a"), configured)
        return {"config_kwargs": theirs | {"retries": {"total_max_attempts": 1}}}
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        theirs = _configured("client_kwargs", ("http", "https"), configured)
        return {"client_kwargs": {"timeout": ClientTimeout(**_HTTP_TIMEOUT_SECONDS)} | theirs}
    return {}


def _configured(
    option: str, protocols: tuple[str, ...], configured: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for protocol in protocols:
        found |= configured.get(protocol, {}).get(option) or {}
    return found


def _is_s3(protocol: str) -> bool:
    return protocol in ("s3", "s3a")
