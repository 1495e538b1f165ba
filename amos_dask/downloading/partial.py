"""A file that arrives over several runs, under a name that tells that it is not complete."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from amos_dask.errors import AmosDaskError
from amos_dask.root.staging import flush_to_disk, remove_if_empty

# What an archive's folder counts as a partial download, and no run removes as its own leftover.
_SUFFIX = ".part"
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of a partial file came from.

    Parameters
    ----------
    url : str
        The file's URL.
    etag : str or None
        What the server said identifies its content.
    """

    url: str
    etag: str | None


def partial_path(final: Path) -> Path:
    """Return where the beginning of a file lies."""
    return final.with_name(f".{final.name}{_SUFFIX}")


class PartialFile:
    """The beginning of a file, with its MD5; what is there stays for the next run.

    Within the ``with`` block nobody else can write to it. When the block ends, an empty one is
    removed.

    Parameters
    ----------
    final : Path
        What it becomes when it is complete. Its folder is made.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path = partial_path(final)
        self._origin_path = final.with_name(f".{final.name}.origin{_SUFFIX}")
        self.n_bytes = 0
        self._digest = hashlib.md5(usedforsecurity=False)  # what publishers choose

    def __enter__(self) -> Self:
        folder = self.final.parent
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self._file = FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        try:
            self._take()
        except BaseException:
            self._file.close()
            raise
        self.n_bytes = self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.n_bytes == 0:
            self.discard()
        self._file.close()
        remove_if_empty(*self._made)

    def _take(self) -> None:
        """Lock the file; two downloads would mix theirs."""
        in_use = AmosDaskError(f"{self.final}: another process is downloading it; wait for it.")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise in_use from error
        except OSError:
            return  # a file system without locks
        # The other process may have finished, and renamed, what was opened here.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                return
        raise in_use

    @property
    def md5(self) -> str:
        """The MD5 of what is there."""
        return self._digest.hexdigest()

    @property
    def origin(self) -> Origin | None:
        """Where the bytes came from, as far as that was kept."""
        try:
            origin = Origin(**json.loads(self._origin_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return origin if isinstance(origin.url, str) and origin.etag is not None else None

    def came_from(self, origin: Origin) -> None:
        """Keep where the bytes come from."""
        if origin != self.origin:
            self._origin_path.write_text(json.dumps(asdict(origin)), encoding="utf-8")

    def read_again(self, listen: Callable[[int], None]) -> None:
        """Compute the MD5 of what an earlier run left.

        Parameters
        ----------
        listen : callable
            Is told how many bytes have been read.
        """
        digest = hashlib.md5(usedforsecurity=False)
        n_read = self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            digest.update(block)
            n_read += len(block)
            listen(n_read)
        self._digest, self.n_bytes = digest, n_read

    def append(self, block: bytes) -> None:
        """Write what comes next."""
        rest = memoryview(block)
        try:
            while rest:  # a file without buffer may take less than all
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            error.filename = self.final  # where there is no space left, for example
            raise
        self._digest.update(block)
        self.n_bytes += len(block)

    def restart(self) -> None:
        """Forget all that is there."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.md5(usedforsecurity=False)
        self.n_bytes = 0

    def publish(self) -> None:
        """Give the file its final name, on disk and never over another file.

        Raises
        ------
        FileExistsError
            When there is something of that name.
        """
        flush_to_disk(self.path)
        _rename_to_new(self.path, self.final)
        flush_to_disk(self.final.parent)
        self._origin_path.unlink(missing_ok=True)
        self._file.close()

    def discard(self) -> None:
        """Remove the file and what was kept of it."""
        if not self._file.closed:  # it is ours as long as it is open
            self.path.unlink(missing_ok=True)
            self._origin_path.unlink(missing_ok=True)
            self._file.close()


def _rename_to_new(path: Path, final: Path) -> None:
    """Rename a file; a link cannot replace one that is there."""
    try:
        os.link(path, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(final):
            raise FileExistsError(final) from None
        path.rename(final)
        return
    path.unlink()
