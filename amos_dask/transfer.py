"""One file from an HTTP server onto the disk: gone on with where it was cut, and whole or not."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from time import sleep

import urllib3

from amos_dask.archive.locations import shown
from amos_dask.archive.published import read_md5
from amos_dask.engine.events import BytesDone, Listener, Notice
from amos_dask.errors import AmosDaskError, ArchiveError
from amos_dask.root.staging import flush_to_disk, remove_if_empty, require_room
from amos_dask.web import NO_SUCH_PART, REST, WHOLE, PassingError, open_url

# Between attempts in a row that bring nothing new; after the last it is given up.
PAUSES_SECONDS = (1, 2, 4, 8, 15, 30, 60)
LONGEST_ASKED_SECONDS = 900  # that is granted to a server that asks for a pause
SECONDS_BETWEEN_EVENTS = 1.0
TO_COME = "still to come"  # what a disk must have room for
_BLOCK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')  # stands for exactly these bytes


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

    def fits(self, n_bytes: int) -> bool:
        """Return whether a file of this size can be the published one."""
        return self.n_bytes is None or abs(n_bytes - self.n_bytes) <= self.n_bytes_uncertain


def fetch(file: PublishedFile, final: Path, listener: Listener) -> None:
    """Download a file; it appears under its name when it is complete and as published.

    What an earlier call left in `partial_path` is gone on with.

    Parameters
    ----------
    file : PublishedFile
        What to download.
    final : Path
        What it becomes. Its folder is made.
    listener : callable
        Is told of progress, in bytes, and of failed attempts.

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
        self._file = file
        self._partial = partial
        self._final = final
        self._listener = listener
        self._n_bytes = None if file.n_bytes_uncertain else file.n_bytes
        self._n_there = partial.seek(0, os.SEEK_END)
        self._etag: str | None = None
        self._next_event = 0.0

    def run(self) -> None:
        """Fetch all that is missing; return when the file is complete and as published."""
        if self._file.md5 is None:  # nothing would tell what it is that is there
            self._restart()
        n_from_before = self._n_there
        if n_from_before:
            self._say(f"{n_from_before:,} bytes of it are there already")
        while True:
            self._receive_all()
            md5 = None if self._file.md5 is None else self._read_md5()
            if md5 == self._file.md5:
                return
            self._restart()
            if not n_from_before:
                raise self._error(
                    f"what was sent has the MD5 {md5}, published is {self._file.md5}; nothing of "
                    "it was kept, download it again"
                )
            self._say("what was there is not the beginning of it; it is fetched anew")
            n_from_before = 0

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
        headers = {}
        if self._file.md5 is None and self._etag is None:
            self._restart()  # nothing would tell that a rest belongs to what is there
        if self._n_there:
            headers["Range"] = f"bytes={self._n_there}-"
            if self._etag is not None:
                headers["If-Range"] = self._etag
        with open_url(self._file.url, headers) as reply:
            if self._take(reply):
                self._write(reply)

    def _take(self, reply: urllib3.BaseHTTPResponse) -> bool:
        """Hold a reply against what is there; return whether it brings more of it."""
        start, n_bytes, etag = _understand(reply)
        if reply.status == NO_SUCH_PART and self._n_there == n_bytes:
            return False
        is_changed = start != 0 and None not in (etag, self._etag) and etag != self._etag
        if start != (self._n_there if reply.status == REST else 0) or is_changed:
            self._restart()
            raise PassingError("the server does not send the rest of it")
        if n_bytes is not None and not self._file.fits(n_bytes):
            raise self._error(
                f"the server has {n_bytes} bytes of it, published are {self._file.n_bytes}; "
                "choose another source"
            )
        if start == 0 and self._n_there:
            self._say("the server begins anew")
            self._restart()
        self._etag = etag
        self._n_bytes = n_bytes if n_bytes is not None else self._n_bytes
        require_room(self._final.parent, (self._n_bytes or 0) - self._n_there, TO_COME)
        return True

    def _write(self, reply: urllib3.BaseHTTPResponse) -> None:
        self._tell("download", self._n_there, self._n_bytes, now=True)
        while block := reply.read1(_BLOCK_BYTES):  # what has come is taken, a cut loses nothing
            if self._n_bytes is not None and self._n_there + len(block) > self._n_bytes:
                raise self._error(
                    f"the server sends more than the {self._n_bytes} bytes it should have; choose "
                    "another source"
                )
            self._append(block)
            self._tell("download", self._n_there, self._n_bytes)
        if self._n_bytes == 0:
            raise self._error("the server has nothing in it")
        # Where the reply does not tell its end, what is known of the size has to.
        n_least = (self._file.n_bytes or 1) - self._file.n_bytes_uncertain
        if self._n_there < (n_least if self._n_bytes is None else self._n_bytes):
            raise PassingError("the connection was cut")
        self._tell("download", self._n_there, self._n_bytes, now=True)

    def _append(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            while rest:  # a file without buffer may take less than all
                rest = rest[self._partial.write(rest) or 0 :]
        except OSError as error:
            error.filename = self._final  # where there is no space left, for example
            raise
        self._n_there += len(block)

    def _restart(self) -> None:
        self._partial.seek(0)
        self._partial.truncate()
        self._n_there, self._etag = 0, None

    def _read_md5(self) -> str:
        path = str(partial_path(self._final))
        return read_md5(path, lambda n_read: self._tell("md5", n_read, self._n_there))

    def _wait(self, n_failures: int, error: PassingError) -> None:
        """Wait for the next attempt; raise when it was the last."""
        if n_failures > len(PAUSES_SECONDS) or error.wait_seconds > LONGEST_ASKED_SECONDS:
            kept = f"; {self._n_there} bytes are kept" if self._n_there else ""
            raise self._error(f"{error}{kept}; run the same command again later") from error
        pause = max(PAUSES_SECONDS[n_failures - 1], error.wait_seconds)
        self._say(f"{error}; next attempt in {pause:.0f} s")
        sleep(pause)

    def _tell(self, phase: str, n_bytes: int, total: int | None, *, now: bool = False) -> None:
        clock = time.monotonic()
        if now or clock >= self._next_event:
            self._next_event = clock + SECONDS_BETWEEN_EVENTS
            self._listener(BytesDone(phase, self._file.name, n_bytes, total))

    def _say(self, message: str) -> None:
        self._listener(Notice(f"{self._file.name}: {message}"))

    def _error(self, message: str) -> ArchiveError:
        return ArchiveError(f"{shown(self._file.url)}: {message}.")


def _understand(reply: urllib3.BaseHTTPResponse) -> tuple[int, int | None, str | None]:
    """Return where a reply begins, -1 for nowhere; the size of the whole; and its strong ETag."""
    etag = reply.headers.get("ETag", "").strip()
    strong = etag if _STRONG_ETAG.fullmatch(etag) else None
    if reply.status == WHOLE:
        length = reply.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None, strong
    match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
    start, n_bytes = match.groups() if match else (None, None)
    size = int(n_bytes) if n_bytes and n_bytes.isdecimal() else None
    return -1 if start is None else int(start), size, strong


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
