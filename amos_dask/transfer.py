"""One file from an HTTP server onto the disk: gone on with where it was cut, and whole or not."""

from __future__ import annotations

import fcntl
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import exceptions as faults

from amos_dask.archive.remote import PASSING_STATUSES, scrubbed
from amos_dask.archive.sources import read_md5
from amos_dask.datasets import PublishedFile
from amos_dask.engine.events import BytesDone, Listener, Notice, Severity
from amos_dask.errors import AmosDaskError, ArchiveError
from amos_dask.file_refs import shown
from amos_dask.root.staging import flush_to_disk, remove_if_empty, require_room

TIMEOUT_SECONDS = 30.0  # that a server may be silent
# Between attempts in a row that bring nothing new; after the last it is given up.
PAUSES_SECONDS = (1, 2, 4, 8, 15, 30, 60)
LONGEST_ASKED_SECONDS = 900  # that is granted to a server that asks for a pause
SECONDS_BETWEEN_EVENTS = 1.0
TO_COME = "still to come"  # what a disk must have room for
_BLOCK_BYTES = 1 << 20
_WHOLE, _REST, _NO_SUCH_PART = 200, 206, 416
_ONLY_REDIRECTS = urllib3.Retry(
    None, connect=0, read=0, status=0, other=0, redirect=10, respect_retry_after_header=False
)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')  # stands for exactly these bytes


class PassingError(Exception):
    """What another attempt may mend, after as many seconds as the server asks for."""

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@contextmanager
def open_url(
    url: str, headers: Mapping[str, str] | None = None
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Ask a server for a file, and yield its reply.

    Raises
    ------
    PassingError
        When another attempt may help, in the ``with`` block as well.
    ArchiveError
        When none will.
    """
    # The file is wanted as it is: packed for the way, it could not be gone on with.
    told = {"User-Agent": "amos-dask", "Accept-Encoding": "identity", **(headers or {})}
    try:
        with (
            _connections(url) as pool,
            pool.request("GET", url, headers=told, preload_content=False) as reply,
        ):
            _require_file(url, reply)
            yield reply
    except faults.HTTPError as error:
        raise _failure(url, error) from error


def _connections(url: str) -> urllib3.PoolManager:
    """Return what connects to a server, by the proxy that the environment names."""
    parts = urlsplit(url)
    how: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "retries": _ONLY_REDIRECTS}
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if not proxy:
        return urllib3.PoolManager(**how)
    known = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    login = urllib3.make_headers(proxy_basic_auth=unquote(known.auth)) if known.auth else None
    return urllib3.ProxyManager(known.url, proxy_headers=login, **how)


def _require_file(url: str, reply: urllib3.BaseHTTPResponse) -> None:
    """Raise unless the answer is a file, or that there is no such part of it."""
    answer = f"the server answers {reply.status} {reply.reason or ''}".strip()
    if reply.status in PASSING_STATUSES:
        wait_seconds = 0.0
        with suppress(faults.InvalidHeader):
            wait_seconds = _ONLY_REDIRECTS.get_retry_after(reply) or 0.0
        if wait_seconds:
            answer += f" and asks to wait {wait_seconds:.0f} s"
        raise PassingError(answer, wait_seconds)
    if reply.status == _NO_SUCH_PART:
        return
    if reply.status not in (_WHOLE, _REST):
        raise ArchiveError(f"{shown(url)}: {answer}.")
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        raise ArchiveError(f"{shown(url)}: the server sends the file packed.")
    if "text/html" in reply.headers.get("Content-Type", "").lower():  # of a hotel, for example
        raise ArchiveError(f"{shown(url)}: a web page was sent instead of the file.")


def _failure(url: str, error: faults.HTTPError) -> PassingError | ArchiveError:
    reason = (isinstance(error, faults.MaxRetryError) and error.reason) or error
    cause: BaseException = reason
    if isinstance(reason, faults.SSLError) and isinstance(reason.args[0], ssl.SSLError):
        cause = reason.args[0]
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, TimeoutError):
        return PassingError("the server is silent")
    if isinstance(reason, faults.ProtocolError):
        return PassingError("the connection was cut")
    said = f"cannot be reached ({scrubbed(cause)})"
    is_final = isinstance(reason, faults.LocationValueError | faults.ResponseError)
    if is_final or isinstance(cause, ssl.SSLCertVerificationError):
        return ArchiveError(f"{shown(url)}: {said}.")
    return PassingError(f"{urlsplit(url).netloc} {said}")


def fetch(file: PublishedFile, final: Path, listener: Listener) -> None:
    """Download a file; it appears under its name when it is complete and as published.

    Its folder is made, and what an earlier call left in `partial_path` is gone on with. The
    listener is told of progress, in bytes, and of failed attempts.

    Raises
    ------
    ArchiveError
        When it cannot be had, or is not what it should be. Only after a wrong checksum nothing of
        it stays.
    AmosDaskError
        When another process is downloading it, or something of its name has appeared.
    """
    with _open_partial(final) as partial:
        _Transfer(file, partial, final, listener).run()
        flush_to_disk(partial_path(final))
        _rename_to_new(partial_path(final), final)
        flush_to_disk(final.parent)


def partial_path(final: Path) -> Path:
    """Return where the beginning of a file lies; an archive's folder counts it as a download."""
    return final.with_name(f".{final.name}.part")


class _Transfer:
    """Fetches one file into a partial file, however often the connection is cut."""

    def __init__(
        self, file: PublishedFile, partial: FileIO, final: Path, listener: Listener
    ) -> None:
        self._file, self._partial = file, partial
        self._final, self._listener = final, listener
        # What the whole has, 0 where that is not known; what of it is there, and by which ETag.
        self._n_bytes = 0 if file.n_bytes_uncertain else file.n_bytes
        self._n_there = partial.seek(0, os.SEEK_END)
        self._etag = ""
        self._next_event = 0.0

    def run(self) -> None:
        """Fetch all that is missing; return when the file is complete and as published."""
        if self._file.md5 is None:  # nothing would tell what it is that is there
            self._restart()
        is_begun = self._n_there > 0
        if is_begun:
            self._say(f"{self._n_there:,} bytes of it are there already")
        self._receive_all()
        while self._file.md5 is not None:
            md5 = read_md5(self._partial, lambda *n: self._tell("md5", *n))
            if md5 == self._file.md5:
                return
            self._restart()
            if not is_begun:
                raise self._error(
                    f"what was sent has the MD5 {md5}, published is {self._file.md5}; nothing of "
                    "it was kept, download it again"
                )
            is_begun = False
            self._say("what was there is not the beginning of it; it is fetched anew", "warning")
            self._receive_all()

    def _receive_all(self) -> None:
        n_furthest, n_failures = self._n_there, 0
        while self._n_there != self._n_bytes or not self._n_bytes:
            try:
                self._receive()
                return
            except PassingError as error:
                n_failures = 1 if self._n_there > n_furthest else n_failures + 1
                n_furthest = max(n_furthest, self._n_there)
                self._wait(n_failures, error)

    def _receive(self) -> None:
        """Make one request and write what comes; return when that is all."""
        if self._file.md5 is None and not self._etag:
            self._restart()  # nothing would tell that a rest belongs to what is there
        headers = {}
        if self._n_there:
            headers["Range"] = f"bytes={self._n_there}-"
            if self._etag:
                headers["If-Range"] = self._etag
        with open_url(self._file.where, headers) as reply:
            if self._takes(reply):
                self._write(reply)

    def _takes(self, reply: urllib3.BaseHTTPResponse) -> bool:
        """Hold a reply against what is there; return whether it brings more of it."""
        start, n_bytes, etag = _read_headers(reply)
        if reply.status == _NO_SUCH_PART and self._n_there == n_bytes:
            return False
        is_changed = start != 0 and etag and self._etag and etag != self._etag
        if start != (self._n_there if reply.status == _REST else 0) or is_changed:
            self._restart()
            raise PassingError("the server does not send the rest of it")
        if n_bytes is not None and not self._file.fits(n_bytes):
            raise self._error(
                f"the server has {n_bytes} bytes of it, published are {self._file.n_bytes}; "
                "choose another source"
            )
        if start == 0 and self._n_there:
            self._say("the server begins anew", "warning")
            self._restart()
        if n_bytes == 0:
            raise self._error("the server has nothing in it")
        self._etag = etag
        self._n_bytes = n_bytes or self._n_bytes
        require_room(self._final.parent, self._n_bytes - self._n_there, TO_COME)
        return True

    def _write(self, reply: urllib3.BaseHTTPResponse) -> None:
        self._tell("download", self._n_there, self._n_bytes, now=True)
        while block := reply.read1(_BLOCK_BYTES):  # what has come is taken, a cut loses nothing
            if self._n_bytes and self._n_there + len(block) > self._n_bytes:
                raise self._error(
                    f"the server sends more than the {self._n_bytes} bytes it should have; choose "
                    "another source"
                )
            rest = memoryview(block)
            try:
                while rest:  # a file without buffer may take less than all
                    rest = rest[self._partial.write(rest) or 0 :]
            except OSError as error:
                error.filename = self._final  # where there is no space left, for example
                raise
            self._n_there += len(block)
            self._tell("download", self._n_there, self._n_bytes)
        # Where the reply does not tell its end, what is known of the size has to.
        n_least = self._n_bytes or max(1, self._file.n_bytes - self._file.n_bytes_uncertain)
        if self._n_there < n_least:
            raise PassingError("the connection was cut")
        self._tell("download", self._n_there, self._n_bytes, now=True)

    def _restart(self) -> None:
        self._partial.seek(0)
        self._partial.truncate()
        self._n_there, self._etag = 0, ""

    def _wait(self, n_failures: int, error: PassingError) -> None:
        """Wait for the next attempt; raise when it was the last."""
        if n_failures > len(PAUSES_SECONDS) or error.wait_seconds > LONGEST_ASKED_SECONDS:
            kept = f"; {self._n_there} bytes are kept" if self._n_there else ""
            raise self._error(f"{error}{kept}; run the same command again later") from error
        pause = max(PAUSES_SECONDS[n_failures - 1], error.wait_seconds)
        self._say(f"{error}; next attempt in {pause:.0f} s", "warning")
        sleep(pause)

    def _tell(self, work: str, n_bytes: int, total: int | None, *, now: bool = False) -> None:
        clock = time.monotonic()
        if now or clock >= self._next_event:
            self._next_event = clock + SECONDS_BETWEEN_EVENTS
            self._listener(BytesDone(work, self._file.name, n_bytes, total or None))

    def _say(self, message: str, severity: Severity = "info") -> None:
        self._listener(Notice(f"{self._file.name}: {message}", severity))

    def _error(self, message: str) -> ArchiveError:
        return ArchiveError(f"{shown(self._file.where)}: {message}.")


def _read_headers(reply: urllib3.BaseHTTPResponse) -> tuple[int, int | None, str]:
    """Return where a reply begins, -1 for nowhere; the size of the whole; and its strong ETag."""
    etag = reply.headers.get("ETag", "").strip()
    start, size = "0", reply.headers.get("Content-Length", "")
    if reply.status != _WHOLE:
        match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
        start, size = match.groups("-1") if match else ("-1", "")
    n_bytes = int(size) if size.isdecimal() else None
    return int(start), n_bytes, etag if _STRONG_ETAG.fullmatch(etag) else ""


@contextmanager
def _open_partial(final: Path) -> Iterator[FileIO]:
    """Yield the beginning of a file, locked; when the block ends, an empty one is removed."""
    made = [path for path in (final.parent, *final.parent.parents) if not path.exists()]
    final.parent.mkdir(parents=True, exist_ok=True)
    path = partial_path(final)
    if path.exists() and path.stat().st_nlink > 1:  # what has another name is not written to
        path.unlink()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with FileIO(os.open(path, flags, 0o666), "r+") as partial:
        _lock(partial, final)
        try:
            yield partial
        finally:
            if os.fstat(partial.fileno()).st_size == 0:
                path.unlink(missing_ok=True)
                remove_if_empty(*made)


def _lock(partial: FileIO, final: Path) -> None:
    """Lock a partial file; two downloads would mix theirs."""
    try:
        fcntl.flock(partial, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return  # a file system without locks
    else:
        # The other process may have finished, and renamed, what was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(partial.fileno()), partial_path(final).stat()):
                return
    raise AmosDaskError(f"{final}: another process is downloading it; wait for it.")


def _rename_to_new(path: Path, final: Path) -> None:
    """Rename a file; a link, unlike a rename, cannot replace what is there."""
    try:
        os.link(path, final)
    except OSError as error:
        if os.path.lexists(final):
            raise AmosDaskError(
                f"{final}: has appeared in the meantime; it is not overwritten, move it away and "
                "run the same command again."
            ) from error
        path.rename(final)  # a file system without links
    else:
        path.unlink()
