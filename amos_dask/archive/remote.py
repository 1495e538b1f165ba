"""Files at URLs: listed, and read in ranges, each request tried again where it fails in passing.

Each driver of fsspec raises errors of its own. Here they become errors of the operating system's
kind, whose ``strerror`` tells neither URLs nor secrets.
"""

from __future__ import annotations

import errno
import io
import random
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar

from amos_dask.errors import ArchiveError
from amos_dask.file_refs import FileRef, shown, shown_name

# So much more than is read is fetched and kept: a request costs more than its bytes.
READ_AHEAD_BYTES = 1 << 14
LARGEST_READ_BYTES = 1 << 22  # for those who read on: one request, held in memory
# Between the attempts. What takes long is not tried as often.
PAUSES_SECONDS = (0.5, 1, 2, 4, 8)
PATIENCE_SECONDS = 120.0
# Another attempt may change: a timeout, too early, too many requests, what is the server's fault.
PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)})

_HTTP_TIMEOUT_SECONDS = {"sock_connect": 10.0, "sock_read": 30.0}
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}
_PASSWORD = re.compile(r"://[^/?#@:]*:[^/?#]*@")
_LONGEST_MESSAGE = 200
_URL = re.compile(r"\w+://[^\s'\"()<>]+")
# By name, as the libraries behind fsspec's drivers are not all here.
_BROKEN_OFF = {
    *("ConnectionError", "TimeoutError"),
    *("HTTPClientError", "IncompleteReadError", "ResponseParserError"),  # botocore
    *("ClientConnectionError", "ClientPayloadError"),  # aiohttp
    *("ServiceRequestError", "ServiceResponseError"),  # Azure
    *("TransportError", "IncompleteRead"),  # Google, http.client
}
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}

_T = TypeVar("_T")


class TransientError(OSError):
    """What may be otherwise at another time: it failed as often as it was tried."""


def persist(action: Callable[[], _T], *, only_once: bool = False) -> _T:
    """Return what an action returns; it is tried again, with pauses, when it fails in passing.

    Parameters
    ----------
    action : callable
        What to do.
    only_once : bool
        It cannot be done a second time.

    Raises
    ------
    OSError
        When it fails, a `TransientError` in passing; ``strerror`` says why, without URLs.
    ArchiveError
        As the action raises it.
    """
    start, n_attempts = monotonic(), 0
    while True:
        n_attempts += 1
        try:
            return action()
        except ArchiveError:
            raise
        except Exception as error:  # each driver raises its own
            found = _as_oserror(error)
            if not isinstance(found, TransientError):
                raise found from error
            is_late = n_attempts > len(PAUSES_SECONDS) or monotonic() - start > PATIENCE_SECONDS
            if only_once or is_late:
                again = f", at {n_attempts} attempts" if n_attempts > 1 else ""
                raise TransientError(errno.EIO, f"{found.strerror}{again}") from error
        # Workers that were turned away together do not come back together.
        sleep(PAUSES_SECONDS[n_attempts - 1] * random.uniform(0.5, 1.0))  # noqa: S311


def _as_oserror(error: BaseException) -> OSError:
    """Return an error of the operating system's kind that says in a few words what happened."""
    chain, status = [error], None
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    names_of_each = [{kind.__name__ for kind in type(cause).__mro__} for cause in chain]
    names = set[str]().union(*names_of_each)
    for cause, its_names in zip(chain, names_of_each, strict=True):
        if its_names & _BROKEN_OFF:
            is_late = any("Timeout" in name for name in names)
            what = "the server does not answer in time" if is_late else "the connection fails"
            return TransientError(errno.EIO, what)
        if (status := _status(cause)) is not None:
            break
    if status in PASSING_STATUSES:
        return TransientError(errno.EIO, f"the server answers {status}")
    if names & _NO_CREDENTIALS:
        return PermissionError(errno.EACCES, "no credentials were found")
    if status in (401, 403) or "PermissionError" in names:
        return PermissionError(errno.EACCES, "access is denied")
    if status == 412:
        return OSError(errno.EIO, "it was replaced while it was read")
    if status == 404 or "FileNotFoundError" in names:
        what = "bucket" if any("NoSuchBucket" in str(cause) for cause in chain) else "file"
        return FileNotFoundError(errno.ENOENT, f"there is no such {what}")
    if isinstance(error, ValueError) and "range" in str(error):
        return _no_parts()
    return OSError(errno.EIO, scrubbed(error))


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a driver's error, where there was an answer."""
    names = ("status", "status_code", "code")  # aiohttp, Azure, Google
    found: Iterable[object] = (getattr(error, name, None) for name in names)
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        found = [response.get("ResponseMetadata", {}).get("HTTPStatusCode")]
    return next((status for status in found if isinstance(status, int)), None)


def scrubbed(error: BaseException) -> str:
    """Return what an error says, in one line and without the secrets of URLs."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = _URL.sub(lambda match: shown(match[0]), " ".join(str(text).split()))
    return text[:_LONGEST_MESSAGE].rstrip(".")


def _no_parts() -> io.UnsupportedOperation:
    return io.UnsupportedOperation(errno.ESPIPE, "the server does not send parts of files")


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
        When the file cannot be opened or, later, read; ``strerror`` says why, without the URL.
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
        """Go to a place in the file; `io.UnsupportedOperation` where it cannot seek."""
        if self._size is None:
            raise _no_parts()
        return int(self._file.seek(offset, whence))

    def read(self, size: int | None = -1) -> bytes:
        """Return that many bytes, fewer only at the end of the file or where it is streamed."""
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
    filesystem, path = _connect(url)
    return filesystem.open(path, "rb", block_size=read_ahead_bytes, cache_type="readahead")


def find_etag(url: str) -> str | None:
    """Return what the server says identifies a file's content, if it says so.

    Raises `OSError` when it tells nothing of the file.
    """
    filesystem, path = _connect(url)
    return _etag(persist(partial(filesystem.info, path)))


def _etag(entry: Mapping[str, Any]) -> str | None:
    found = (entry.get(name) for name in ("ETag", "etag", "md5", "LastModified", "mtime"))
    return next((str(value) for value in found if value), None)


def list_folder(url: str) -> list[FileRef]:
    """Return every file below a folder; `ArchiveError` when it cannot be listed."""
    filesystem, root = _connect(url)
    try:
        found = persist(partial(filesystem.find, root, detail=True))
    except OSError as error:
        raise ArchiveError(f"{shown(url)}: cannot be listed ({error.strerror}).") from error
    prefix = root.rstrip("/") + "/"
    return [
        FileRef(
            path=shown_name(name.removeprefix(prefix)),
            location=str(filesystem.unstrip_protocol(name)),
            size=int(entry.get("size") or 0),
            etag=_etag(entry),
        )
        for name, entry in found.items()
        if not name.endswith("/")  # what stands for an empty folder
    ]


def list_beside(url: str) -> list[FileRef]:
    """Return the files beside one, by name alone; none where there are no listings.

    Raises `ArchiveError` when the server fails.
    """
    filesystem, path = _connect(url)
    folder = path.rstrip("/").rpartition("/")[0]
    try:
        names = persist(partial(filesystem.ls, folder, detail=False))
    except TransientError as error:  # not "there is nothing": it would change the result
        raise ArchiveError(
            f"{shown(url)}: what lies beside it cannot be listed ({error.strerror}); name the "
            "metadata csv with --labeled_data_meta."
        ) from error
    except OSError:
        return []
    return [
        FileRef(name.rpartition("/")[2], str(filesystem.unstrip_protocol(name)), 0)
        for name in sorted(names)
    ]


def _connect(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it."""
    import fsspec  # not needed for local archives

    if _PASSWORD.search(url):
        raise ArchiveError(
            f"{shown(url)}: a URL must not hold a password; credentials belong where the driver "
            "looks for them, see 'Remote archives' in the documents."
        )
    protocol = url.partition("://")[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        how = str(error)
        if extra := _EXTRAS.get(protocol):
            how = f"the extra {extra!r}, also on the workers: pip install 'amos-dask[{extra}]'"
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
    filesystem.invalidate_cache()  # what an earlier run in this process has seen
    return filesystem, path
