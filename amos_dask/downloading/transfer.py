"""One file from a server, however often the connection is cut."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from amos_dask.downloading.http import (
    Patience,
    Reply,
    TransferError,
    WrongRangeError,
    open_reply,
    shown,
)
from amos_dask.downloading.partial import Origin, PartialFile
from amos_dask.downloading.record import PublishedFile
from amos_dask.engine.events import BytesDone, Listener, Notice
from amos_dask.errors import AmosDaskError, ArchiveError

_SECONDS_BETWEEN_EVENTS = 1.0


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise `AmosDaskError` unless so many bytes can be written below a folder, made or not."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    n_free = shutil.disk_usage(existing).free
    if n_bytes > n_free:
        raise AmosDaskError(
            f"{folder}: {n_bytes / 1e9:.2f} GB are still to come and {n_free / 1e9:.2f} GB of disk "
            "are free; make room or choose another folder."
        )


class Transfer:
    """Fetches one file into a partial file, and goes on where it was cut.

    Parameters
    ----------
    file : PublishedFile
        What to fetch.
    partial : PartialFile
        Where to write it; what it holds already is gone on with.
    patience : Patience
        When to give up.
    listener : callable
        Is told of progress and of failed attempts.
    """

    def __init__(
        self, file: PublishedFile, partial: PartialFile, patience: Patience, listener: Listener
    ) -> None:
        self._file = file
        self._partial = partial
        self._patience = patience
        self._listener = listener
        self._asks_for_rest = True
        self._has_received = False
        self._n_furthest = 0
        self._next_event = 0.0

    def run(self) -> None:
        """Fetch all that is missing; return when the file is complete and as published.

        Raises
        ------
        ArchiveError
            When it cannot be had, or is not what it should be. Only after a wrong checksum nothing
            of it stays.
        """
        self._take_up()
        n_failures = 0
        while not self._is_complete():
            try:
                self._receive()
                self._require_as_published()
                return
            except WrongRangeError as error:
                if not self._asks_for_rest:
                    raise ArchiveError(f"{shown(self._file.url)}: {error}.") from error
                self._say(f"{error}; it is fetched anew")
                self._asks_for_rest = False
            except TransferError as error:
                if self._partial.n_bytes > self._n_furthest:
                    self._n_furthest, n_failures = self._partial.n_bytes, 0
                n_failures += 1
                self._wait(n_failures, error)

    def _take_up(self) -> None:
        """Look at what an earlier run left, and forget it where it cannot be the beginning."""
        partial, n_bytes = self._partial, self._file.exact_n_bytes
        if not partial.n_bytes:
            return
        self._say(f"{partial.n_bytes:,} bytes of it are there already")
        partial.read_again(lambda n_read: self._tell("md5", n_read, partial.n_bytes))
        if n_bytes is not None and partial.n_bytes >= n_bytes and not self._is_complete():
            self._say("they are not its beginning; it is fetched anew")
            partial.restart()
        self._n_furthest = partial.n_bytes

    def _is_complete(self) -> bool:
        """Return whether the checksum says so; without one, only the server can."""
        return self._file.md5 is not None and self._partial.md5 == self._file.md5

    def _receive(self) -> None:
        """Make one request and write what comes."""
        file, partial = self._file, self._partial
        start, etag = self._beginning()
        timeout = self._patience.timeout_seconds
        with open_reply(file.url, start=start, etag=etag, timeout_seconds=timeout) as reply:
            n_bytes = self._require_size(reply)
            if reply.start == 0 and partial.n_bytes:
                self._say("the server begins anew")
                partial.restart()
            require_space(partial.final.parent, (n_bytes or 0) - partial.n_bytes)
            partial.came_from(Origin(file.url, reply.etag))
            self._write(reply, n_bytes)

    def _beginning(self) -> tuple[int, str | None]:
        """Return from where on to ask, and the ETag that the file must still have."""
        partial = self._partial
        if self._asks_for_rest and partial.n_bytes:
            origin = partial.origin
            if origin is not None and origin.url == self._file.url:
                return partial.n_bytes, origin.etag
            if self._file.md5 is not None:  # begun elsewhere: the checksum tells in the end
                return partial.n_bytes, None
        return 0, None

    def _require_size(self, reply: Reply) -> int | None:
        """Return the size of the whole file, as far as anybody tells."""
        file = self._file
        if reply.n_bytes is not None and not file.fits(reply.n_bytes):
            raise ArchiveError(
                f"{shown(file.url)}: the server has {reply.n_bytes} bytes of it, published are "
                f"{file.n_bytes}; choose another source."
            )
        return reply.n_bytes if reply.n_bytes is not None else file.exact_n_bytes

    def _write(self, reply: Reply, n_bytes: int | None) -> None:
        partial = self._partial
        self._tell("download", partial.n_bytes, n_bytes, now=True)
        for block in reply.blocks:
            if n_bytes is not None and partial.n_bytes + len(block) > n_bytes:
                raise ArchiveError(
                    f"{shown(self._file.url)}: the server sends more than the {n_bytes} bytes it "
                    "should have; choose another source."
                )
            partial.append(block)
            self._has_received = True
            self._tell("download", partial.n_bytes, n_bytes)
        # Where nobody tells the end of the reply, what is known of the size has to.
        least = n_bytes if n_bytes is not None else self._file.least_n_bytes
        if partial.n_bytes < least:
            raise TransferError("the connection was cut")
        self._tell("download", partial.n_bytes, n_bytes, now=True)

    def _require_as_published(self) -> None:
        file, partial = self._file, self._partial
        if not partial.n_bytes:
            raise ArchiveError(f"{shown(file.url)}: the server has nothing in it.")
        if file.md5 is not None and partial.md5 != file.md5:
            md5 = partial.md5
            partial.discard()
            raise ArchiveError(
                f"{shown(file.url)}: what was sent has the MD5 {md5}, published is {file.md5}; "
                "nothing of it was kept, download it again."
            )

    def _wait(self, n_failures: int, error: TransferError) -> None:
        pause = self._patience.pause(n_failures, error, first=not self._has_received)
        if pause is None:
            kept = f"; {self._partial.n_bytes} bytes are kept" if self._partial.n_bytes else ""
            raise ArchiveError(
                f"{shown(self._file.url)}: {error}{kept}; run the same command again later."
            ) from error
        self._say(f"{error}; next attempt in {pause:.0f} s")
        self._patience.sleep(pause)

    def _tell(self, phase: str, n_bytes: int, total: int | None, *, now: bool = False) -> None:
        clock = time.monotonic()
        if now or clock >= self._next_event:
            self._next_event = clock + _SECONDS_BETWEEN_EVENTS
            self._listener(BytesDone(phase, self._file.name, n_bytes, total))

    def _say(self, message: str) -> None:
        self._listener(Notice(f"{self._file.name}: {message}"))
