"""Ours and theirs: what may be written over or removed; the list of ROOT_DIR's own files."""

from __future__ import annotations

import filecmp
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Self

from amos_dask.errors import ForeignFileError, WorkbookLockedError
from amos_dask.issues import Issue, make_issue
from amos_dask.root.layout import Layout
from amos_dask.root.staging import (
    Identities,
    Journal,
    Staging,
    find_set_aside,
    identity,
    remove_if_empty,
    set_aside,
)
from amos_dask.root.table_state import (
    OwnFile,
    read_earlier_identities,
    read_own_files,
    write_own_files,
)

# Whether an existing file holds what a new one would: voxels and geometry, cells, text.
IsSame = Callable[[Path, Path], bool]
_LINK = "-> "


def link_identity(target: Path) -> str:
    """Return the identity of a link to a path."""
    return f"{_LINK}{target}"


def is_link_identity(told: str) -> bool:
    """Return whether an identity is that of a link."""
    return told.startswith(_LINK)


def look_at(path: Path) -> str:
    """Return the identity of what has a name: a file, or a link that is not followed."""
    return link_identity(path.readlink()) if path.is_symlink() else identity(path)


class Ownership:
    """What of ROOT_DIR is ours: `known`, by path the identities under which we wrote it.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    *listed : mapping of str to str, or to frozenset of str
        Path relative to ROOT_DIR -> identities under which we wrote it, from a receipt, the list
        of ROOT_DIR's own files, or the journal.
    adopt : bool
        What is in the way and not ours goes to ``replaced/``.
    """

    def __init__(
        self, layout: Layout, *listed: Mapping[str, str] | Identities, adopt: bool = False
    ) -> None:
        self.layout, self.adopt = layout, adopt
        self.known = defaultdict[Path, set[str]](set)
        for path, known in ((p, k) for source in listed for p, k in source.items()):
            self.note(layout.root / path, *([known] if isinstance(known, str) else known))

    def note(self, path: Path, *identities: str) -> None:
        """Count a file as ours that we wrote with an identity."""
        self.known[path].update(identities)

    def lists(self, path: Path) -> bool:
        """Return whether an absolute path is one of ours, be it as we wrote it or not."""
        return path in self.known

    def is_as_written(self, path: Path, at: Path | None = None) -> bool:
        """Return whether a file, now at its path or another, is what we wrote, by its identity."""
        at = at or path
        is_there = self.lists(path) and (at.is_symlink() or at.is_file())
        return is_there and look_at(at) in self.known[path]

    def make_way_to(self, path: Path, *, adopt: bool) -> list[Path]:
        """Set a link or file aside that stands where a folder above a file goes; return it.

        Nothing may be staged before this was asked; never adopt for who reads what lies behind it.

        Raises
        ------
        ForeignFileError
            When it is to stay.
        """
        obstacle = find_obstacle(self.layout, path)
        if obstacle is None:
            return []
        if not adopt:
            what = "a link, which is not followed" if obstacle.is_symlink() else "no folder"
            raise ForeignFileError(obstacle, f"is {what}")
        with suppress(FileNotFoundError):  # another sample has just set it aside
            set_aside(self.layout, obstacle)
        return [obstacle]

    def publish(
        self,
        staging: Staging,
        is_same: IsSame,
        *,
        last: Path | None = None,
        superseded: Collection[Path] = (),
        carried: Collection[Path] = (),
    ) -> list[Path]:
        """Publish staged files; return what was in their way and was set aside.

        Parameters
        ----------
        staging : Staging
            The files.
        is_same : callable
            Whether an existing file holds what a staged one does; then it stays, and is ours.
        last : Path, optional
            The final name to appear last.
        superseded : collection of Path
            Files that go to ``replaced/`` although they are as we wrote them.
        carried : collection of Path
            Files of which the staged ones hold everything that others put there.

        Raises
        ------
        ForeignFileError
            When somebody else's file is in the way; then nothing was touched.
        """
        aside, taken = [], []
        for final, temporary in staging.staged.items():
            if final in carried or not os.path.lexists(final):
                continue
            goes = final in superseded
            if not self.is_as_written(final):
                is_file = final.is_file() and not final.is_symlink()
                if is_file and self.lists(final):
                    goes = True
                elif is_file and (
                    identity(final) == staging.identity_of(final) or is_same(final, temporary)
                ):
                    taken.append(final)
                elif self.adopt:
                    goes = True
                else:
                    why = "is in the way and nothing that this program wrote"
                    raise ForeignFileError(final, why)
            if goes:
                aside.append(final)
        for final in aside:
            set_aside(self.layout, final, leave=True)
        for final in taken:
            staging.drop(final)
        staging.publish(last=last)
        return aside

    def remove(self, path: Path, *, keep_copy: bool = False) -> bool:
        """Remove a file that is ours; return whether it went to ``replaced/``, as one altered does.

        With `keep_copy` it does in any case. What is not ours, or reached through a link, stays.
        """
        is_there = self.lists(path) and os.path.lexists(path)
        if not is_there or find_obstacle(self.layout, path):
            return False
        is_aside = keep_copy or not self.is_as_written(path)
        if is_aside:
            set_aside(self.layout, path)
        else:
            path.unlink(missing_ok=True)
        remove_if_empty(*folders_above(self.layout, path))
        return is_aside


def folders_above(layout: Layout, path: Path) -> list[Path]:
    """Return the folders between a top, such as ``grouped``, and what lies in it, upwards."""
    top = next((top for top in layout.tops if path.is_relative_to(top)), path)
    return [top / folder for folder in path.relative_to(top).parents if folder.name]


def find_obstacle(layout: Layout, path: Path) -> Path | None:
    """Return the first link, or file, that stands for a folder above a path; not above the tops."""
    above = reversed(folders_above(layout, path))
    return next((folder for folder in above if folder.is_symlink() or folder.is_file()), None)


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
    twins : mapping of str to bool
        ``csv`` and ``parquet``: whether workbooks are to be written as that besides; what is not
        in it stays as it was.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        adopt: bool = False,
        is_run: bool = False,
        collects: bool = False,
        twins: Mapping[str, bool] = MappingProxyType({}),
    ) -> None:
        self.layout, self.twins = layout, dict(twins)
        self.set_aside: list[Path] = []
        self.failed: list[Issue] = []
        self._is_run, self._collects = is_run, is_run or collects
        self._journal = Journal(layout, "files")
        killed, listed = self._journal.files(), read_own_files(layout)
        earlier = read_earlier_identities(layout)
        self.ownership = Ownership(layout, killed, earlier, adopt=adopt)
        self.files = {layout.root / key: file for key, file in listed.items()}
        for path, file in self.files.items():
            self.ownership.note(path, file.identity)
        self._killed = {layout.root / key: known for key, known in killed.items()}
        self._earlier = {layout.root / key: known for key, known in earlier.items()}
        self._changes: dict[Path, OwnFile | None] = {}
        self.has_twins = bool(self.twins) or any(file.twin_of for file in self.files.values())

    def __enter__(self) -> Self:
        ours = {**self._earlier, **self.files}
        self.set_aside += find_set_aside(self.layout, ours)  # before a kill
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        changes = zip(self.layout.keys(self._changes), self._changes.values(), strict=True)
        before = read_own_files(self.layout)  # with what others in this process wrote
        files = {k: file for k, file in {**before, **dict(changes)}.items() if file is not None}
        if files != before:
            write_own_files(self.layout, files)
        if exc_type is None:
            self._journal.remove()
            remove_if_empty(self.layout.journals)

    def find(self, path: Path) -> OwnFile | None:
        """Return what is known of a file; None where that is nothing, or speaks of an older one."""
        told, written = self.files.get(path), self._killed.get(path)
        if told is None or written is None or path in self._changes or not path.is_file():
            return told
        return None if identity(path) in written - {told.identity} else told

    def is_as_written(self, path: Path) -> bool:
        """Return whether a file is as we wrote it, as far as its identity tells."""
        return not path.is_symlink() and self.ownership.is_as_written(path)

    def find_twins(self, book: Path | None = None) -> list[Path]:
        """Return the twins that are ours, of one workbook or of all, be they there or gone."""
        twins = ((path, file.twin_of) for path, file in self.files.items() if file.twin_of)
        return [path for path, of in twins if book in (None, self.layout.root / of)]

    def find_there(self, *paths: Path) -> list[Path]:
        """Return those of some files that are ours and there."""
        return [path for path in paths if self.ownership.lists(path) and path.exists()]

    def find_written(self, path: Path) -> OwnFile | None:
        """Return what is known of a file that is as we wrote it; None of any other."""
        return self.find(path) if self.is_as_written(path) else None

    def is_of_earlier_version(self, path: Path) -> bool:
        """Return whether a file is as version 0.1.0 wrote it."""
        return path.is_file() and identity(path) == self._earlier.get(path)

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
            try:
                self.set_aside += self.ownership.publish(
                    staging,
                    is_same or partial(filecmp.cmp, shallow=False),
                    carried=(final,) if carried or (aside and is_there) else (),
                )
            except PermissionError as error:
                raise WorkbookLockedError(final, error.strerror or str(error)) from error
        if lists:
            self.note(final, told or OwnFile(), staging.published.get(final))

    def make_way_to(self, final: Path) -> None:
        """Have what stands where a folder above a file goes make way, or raise."""
        self.set_aside += self.ownership.make_way_to(final, adopt=self.ownership.adopt)

    def write_content(
        self, final: Path, content: bytes, *, aside: bool = False, told: OwnFile | None = None
    ) -> None:
        """Write a file as `write` does, unless it holds that already."""
        if self.is_as_written(final) and final.read_bytes() == content:
            known = self.files.get(final, OwnFile())
            self.note(final, replace(told or known, is_of_run=known.is_of_run))
        else:
            self.write(final, lambda path: path.write_bytes(content), aside=aside, told=told)

    def note(self, path: Path, told: OwnFile, known: str | None = None) -> None:
        """List a file as ours, as it is now; its identity may be known."""
        is_of_run = self._is_run or told.is_of_run
        told = replace(told, identity=known or identity(path), is_of_run=is_of_run)
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
            self.files.pop(path, None)
            for twin in self.find_twins(path):
                self.remove(twin)

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Make an issue of a file that cannot be written in the ``with`` block, in a run."""
        try:
            yield
        except (ForeignFileError, WorkbookLockedError) as error:
            if not self._collects:
                raise
            code, why, action = "foreign_file", error.why, "move it, or give --adopt"
            if isinstance(error, WorkbookLockedError):
                code, action = "workbook_locked", "close it there and run again"
                why = f"is open in another program ({why})"
            shown = self.layout.shown(error.path)
            self.failed.append(make_issue(code, why, file=shown, action=action))

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
