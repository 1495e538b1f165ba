"""The files under ROOT_DIR that are ours besides those of samples, and how one is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import TypeAdapter

from amos_dask.errors import ForeignFileError, WorkbookLockedError
from amos_dask.issues import Issue, make_issue
from amos_dask.root.identity import identity
from amos_dask.root.layout import Layout
from amos_dask.root.ownership import IsSame, Ownership, find_set_aside, set_aside
from amos_dask.root.staging import Journal, Staging, remove_if_empty, write_text
from amos_dask.root.table_state import read_earlier_identities

_JOURNAL = "files"


@dataclass(frozen=True, slots=True)
class OwnSheet:
    """A worksheet that we wrote.

    Parameters
    ----------
    columns : tuple of str
        Our columns.
    checksum : str
        Of their cells, whatever the order of the rows and the last digits of numbers, which other
        programs do not save.
    exact : str
        The same with all digits; empty where a program may have left some out.
    """

    columns: tuple[str, ...]
    checksum: str
    exact: str = ""

    def is_like(self, other: OwnSheet) -> bool:
        """Return whether another one says the same, as far as programs save it."""
        return (self.columns, self.checksum) == (other.columns, other.checksum)


@dataclass(frozen=True, slots=True)
class IndexOf:
    """What an index workbook is of: subsets of a split, a worksheet of a manifest.

    Parameters
    ----------
    manifest : str
        The workbook, as files are listed.
    split : str
        The worksheet.
    subsets : tuple of str
        The subsets whose rows it has.
    """

    manifest: str
    split: str
    subsets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnFile:
    """What is known of a file that we wrote.

    Parameters
    ----------
    identity : str
        Of the file when we wrote it, or last found that others changed nothing of ours.
    is_of_run : bool
        `run` wrote it, not a single command.
    sheets : mapping of str to OwnSheet
        Of a workbook: our worksheets; empty where they are not known.
    is_shared : bool
        Of a workbook: it may hold what others put there.
    index_of : IndexOf or None
        Of an index workbook.
    """

    identity: str = ""
    is_of_run: bool = False
    sheets: Mapping[str, OwnSheet] = field(default_factory=dict)
    is_shared: bool = False
    index_of: IndexOf | None = None


Value = TypeVar("Value")
_FILES = TypeAdapter(dict[str, OwnFile])


class OwnFiles:
    """Writes and removes workbooks, texts and the report, and lists them as ours.

    Used in a ``with`` block, at whose end the list is written. Until then the journal tells what
    was written.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/``.
    is_run : bool
        `run` writes, not a single command.
    collects : bool
        What cannot be written is an issue, and the rest is written nevertheless; a run's always is.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        adopt: bool = False,
        is_run: bool = False,
        collects: bool = False,
    ) -> None:
        self.layout = layout
        self.set_aside: list[Path] = []
        self.failed: list[Issue] = []
        self._is_run = is_run
        self._collects = is_run or collects
        self._journal = Journal(layout, _JOURNAL)
        killed = self._journal.files()
        self._earlier = self._by_path(read_earlier_identities(layout))
        self._killed = self._by_path(killed)
        self.files = self._by_path(_read_list(layout))
        self._changes: dict[Path, OwnFile | None] = {}
        self.ownership = Ownership(layout, killed, adopt=adopt)
        for path, file in self.files.items():
            self.ownership.note(path, file.identity)
        for path, known in self._earlier.items():
            self.ownership.note(path, known)

    def _by_path(self, listed: Mapping[str, Value]) -> dict[Path, Value]:
        return {self.layout.root / key: value for key, value in listed.items()}

    def __enter__(self) -> Self:
        ours = {**self._earlier, **self.files}
        self.set_aside += find_set_aside(self.layout, ours)  # before a kill
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        changes = zip(self.layout.keys(self._changes), self._changes.values(), strict=True)
        before = _read_list(self.layout)  # with what others in this process wrote
        files = {k: file for k, file in {**before, **dict(changes)}.items() if file is not None}
        if files != before:
            content = _FILES.dump_json(files, exclude_defaults=True)
            write_text(self.layout.own_files, content.decode())
        if exc_type is None:
            self._journal.remove()
            remove_if_empty(self.layout.journals)

    # ------------------------------------------------------------ what is known

    def find(self, path: Path) -> OwnFile | None:
        """Return what is known of a file; None where that is nothing, or speaks of an older one."""
        told, written = self.files.get(path), self._killed.get(path)
        if told is None or written is None or path in self._changes or not path.is_file():
            return told
        return None if identity(path) in written - {told.identity} else told

    def is_as_written(self, path: Path) -> bool:
        """Return whether a file is as we wrote it, as far as its identity tells."""
        return path.is_file() and not path.is_symlink() and self.ownership.is_as_written(path)

    def sheets_of(self, path: Path) -> Mapping[str, OwnSheet]:
        """Return the worksheets of a workbook that is as we wrote it; none of any other."""
        known = self.find(path) if self.is_as_written(path) else None
        return {} if known is None else known.sheets

    def is_of_earlier_version(self, path: Path) -> bool:
        """Return whether a file is as version 0.1.0 wrote it."""
        return path.is_file() and identity(path) == self._earlier.get(path)

    # ------------------------------------------------------------ writing

    def write(
        self,
        final: Path,
        write: Callable[[Path], object],
        *,
        is_same: IsSame | None = None,
        told: OwnFile | None = None,
        carried: bool = False,
        aside: bool = False,
        lists: bool = True,
    ) -> None:
        """Write a file that appears complete; what is in its way stays, makes way, or stops us.

        Parameters
        ----------
        final : Path
            The file.
        write : callable
            Is given a temporary name to write to.
        is_same : callable, optional
            Whether a file that is there holds what was written; by default, byte for byte.
        told : OwnFile, optional
            What is known of it, but for its identity.
        carried : bool
            What others put into the file that is there is in the new one as well.
        aside : bool
            The file that is there is in ``replaced/`` before the new one appears, in any case.
        lists : bool
            It is ours from now on.

        Raises
        ------
        ForeignFileError
            When somebody else's file is in the way; it was not touched.
        WorkbookLockedError
            When the file that is there may not be replaced.
        """
        self.make_way_to(final)
        with Staging(self._journal if lists else None) as staging:
            write(staging.path_for(final))
            is_there = final.exists()
            if aside and is_there:
                set_aside(self.layout, final, leave=True)
                self.set_aside.append(final)
            carried_over = (final,) if carried or (aside and is_there) else ()
            try:
                self.set_aside += self.ownership.publish(
                    staging, is_same or same_bytes, carried=carried_over
                )
            except PermissionError as error:
                raise WorkbookLockedError(final, error.strerror or str(error)) from error
        if lists:
            self.note(final, told or OwnFile())

    def make_way_to(self, final: Path) -> None:
        """Look for what stands where a folder above a file goes; see `Ownership.make_way_to`."""
        self.set_aside += self.ownership.make_way_to([final], adopt=self.ownership.adopt)

    def write_text(self, final: Path, text: str, *, aside: bool = False) -> None:
        """Write a text file as `write` does, unless it says that already."""
        if self.is_as_written(final) and final.read_bytes() == text.encode():
            self.note(final, self.files.get(final, OwnFile()))
        else:
            self.write(final, lambda path: path.write_bytes(text.encode()), aside=aside)

    def note(self, path: Path, told: OwnFile) -> None:
        """List a file as ours, as it is now."""
        told = replace(told, identity=identity(path), is_of_run=self._is_run or told.is_of_run)
        self._changes[path] = self.files[path] = told
        self.ownership.note(path, told.identity)

    def remove(self, path: Path) -> None:
        """Remove a file if it is ours; one that may hold something of others is set aside."""
        told = self.find(path)
        is_shared = path.suffix == ".xlsx" and (told is None or told.is_shared)
        if self.ownership.remove(path, keep_copy=is_shared):
            self.set_aside.append(path)
        if not path.exists():
            self._changes[path] = None

    # ------------------------------------------------------------ what there is to say

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Make an issue of a file that cannot be written in the ``with`` block, in a run."""
        try:
            yield
        except (ForeignFileError, WorkbookLockedError) as error:
            if not self._collects:
                raise
            self.failed.append(_issue_of(error, self.layout.shown(error.path)))

    def issues(self) -> list[Issue]:
        """Return what could not be written, and what this run set aside, before a kill too."""
        said = (
            make_issue(
                "replaced",
                "was altered, or held what would have been lost",
                file=self.layout.shown(path),
                action="written anew; what was there is in replaced/",
            )
            for path in dict.fromkeys(self.set_aside)
        )
        return [*dict.fromkeys(self.failed), *said]


def _issue_of(error: ForeignFileError | WorkbookLockedError, file: str) -> Issue:
    if isinstance(error, WorkbookLockedError):
        why = f"is open in another program ({error.why})"
        return make_issue("workbook_locked", why, file=file, action="close it there and run again")
    return make_issue("foreign_file", error.why, file=file, action="move it, or give --adopt")


def same_bytes(existing: Path, staged: Path) -> bool:
    """Return whether two files are the same, byte for byte."""
    return existing.read_bytes() == staged.read_bytes()


def _read_list(layout: Layout) -> dict[str, OwnFile]:
    with suppress(OSError, ValueError, LookupError, TypeError):
        return _FILES.validate_json(layout.own_files.read_bytes())
    return {}
