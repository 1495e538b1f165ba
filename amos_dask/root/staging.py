"""Files that appear together and complete: written under temporary names, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

_SUFFIX = ".part~"


class Listing(Protocol):
    """What is told of files before they appear."""

    def add_temporaries(self, paths: Iterable[Path]) -> None:
        """List temporary files, before they are made."""

    def add_published(self, staged: Mapping[Path, Path]) -> None:
        """List the files that are about to get their final names: final -> temporary path."""


class Staging:
    """A set of files that get their final names only when all of them are complete.

    Within the ``with`` block, `path_for` gives the temporary name to write to; `publish` flushes
    every file to disk and renames them one after the other. What was not published when the block
    ends is removed.

    Parameters
    ----------
    journal : Listing, optional
        Is told of temporary names before the files are made, and by `note_published` of what is
        going to appear.
    """

    def __init__(self, journal: Listing | None = None) -> None:
        self._journal = journal
        self._staged: dict[Path, Path] = {}
        self._folders: set[Path] = set()
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for temporary in self._staged.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        if self._staged:  # nothing was published: no empty folder stays behind
            remove_if_empty(*reversed(self._made))

    def path_for(self, final: Path) -> Path:
        """Return the temporary path that will become ``final``; makes its folder."""
        return self.paths_for([final])[0]

    def paths_for(self, finals: Iterable[Path]) -> list[Path]:
        """Return the temporary paths of several files; makes their folders."""
        finals = list(finals)
        fresh = {
            final: final.with_name(f".{final.name}.{secrets.token_hex(4)}{_SUFFIX}")
            for final in finals
            if final not in self._staged
        }
        for folder in {final.parent for final in fresh} - self._folders:
            self._make_folder(folder)
            self._folders.add(folder)
        if self._journal is not None and fresh:
            self._journal.add_temporaries(fresh.values())
        self._staged |= fresh
        return [self._staged[final] for final in finals]

    def _make_folder(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another sample made it
            except FileNotFoundError:  # another sample's failure removed the empty parent
                path.mkdir(parents=True, exist_ok=True)
            self._made.append(path)

    def write_text(self, final: Path, text: str) -> None:
        """Stage a text file."""
        self.path_for(final).write_text(text, encoding="utf-8")

    @property
    def staged(self) -> dict[Path, Path]:
        """Final name -> temporary name of what is not published yet."""
        return dict(self._staged)

    def drop(self, final: Path) -> None:
        """Give up a staged file."""
        self._staged.pop(final).unlink(missing_ok=True)

    def note_published(self) -> None:
        """Tell the journal what is about to appear."""
        if self._journal is not None:
            self._journal.add_published(self._staged)

    def publish(self, last: Path | None = None) -> None:
        """Flush all staged files to disk and give them their final names.

        Parameters
        ----------
        last : Path, optional
            The final name to appear last: the file that tells that the others are in place.
        """
        for temporary in self._staged.values():
            flush_to_disk(temporary)
        for final, temporary in sorted(self._staged.items(), key=lambda item: item[0] == last):
            temporary.replace(final)
        self._staged.clear()
        for folder in self._folders:
            flush_to_disk(folder)
        self._folders.clear()


def write_file(final: Path, write: Callable[[Path], object]) -> None:
    """Write one file that appears complete, by a function that is given its temporary name."""
    with Staging() as staging:
        write(staging.path_for(final))
        staging.publish()


def write_text(final: Path, text: str) -> None:
    """Write one text file that appears complete."""
    with Staging() as staging:
        staging.write_text(final, text)
        staging.publish()


def is_leftover(name: str) -> bool:
    """Return whether a file's name is that of a temporary file, which only a killed run leaves."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def remove_if_empty(*folders: Path) -> None:
    """Remove folders, in this order, as far as they are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
