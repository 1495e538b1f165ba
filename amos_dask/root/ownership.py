"""Ours and theirs: what may be written over or removed under ROOT_DIR, and what makes way."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from pathlib import Path

from amos_dask.errors import ForeignFileError
from amos_dask.root.identity import identity
from amos_dask.root.journal import Identities
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.replaced import set_aside
from amos_dask.root.staging import Staging, remove_if_empty

# Whether an existing file holds what a new one would: voxels and geometry, cells, text.
IsSame = Callable[[Path, Path], bool]


class Way(Enum):
    """What becomes of what is in the way of a file."""

    FREE = auto()  # nothing is there, or what we wrote
    TAKEN = auto()  # the same content: it stays, and is ours
    ASIDE = auto()  # it goes to replaced/


@dataclass(frozen=True)
class Ownership:
    """What of ROOT_DIR is ours.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    listed : mapping of str to frozenset of str
        Path relative to ROOT_DIR -> identities under which we wrote it, from a receipt, the list
        of ROOT_DIR's own files, or the journal.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/``.
    """

    layout: Layout
    listed: Identities
    adopt: bool = False

    @cached_property
    def _known(self) -> Mapping[Path, frozenset[str]]:
        return {self.layout.root / key: identities for key, identities in self.listed.items()}

    @cached_property
    def _tops(self) -> tuple[Path, ...]:
        return (self.layout.grouped, self.layout.descriptor)

    def lists(self, path: Path) -> bool:
        """Return whether a path is one of ours, be it as we wrote it or not."""
        return bool(self._identities_of(path))

    def is_as_written(self, path: Path) -> bool:
        """Return whether a file is byte for byte what we wrote, as far as its identity tells."""
        known = self._identities_of(path)
        return bool(known) and identity(path) in known

    def _identities_of(self, path: Path) -> frozenset[str]:
        place = path if path.is_absolute() else absolute(path)
        return self._known.get(place, frozenset())

    def find_way(self, final: Path, staged: Path, is_same: IsSame) -> Way:
        """Return what becomes of what is at a path when a staged file is to appear there.

        Raises
        ------
        ForeignFileError
            When it is somebody else's and holds something else, or is reached through a link.
        """
        self.require_reached(final)
        if not os.path.lexists(final):
            return Way.FREE
        if final.is_symlink() or not final.is_file():
            return self._aside_or_raise(final)
        if self.is_as_written(final):
            return Way.FREE
        if self.lists(final):
            return Way.ASIDE
        if identity(final) == identity(staged, final.name) or is_same(final, staged):
            return Way.TAKEN
        return self._aside_or_raise(final)

    def require_reached(self, path: Path) -> None:
        """Raise `ForeignFileError` when a folder on the way to a file is a link."""
        if not self._is_reached_without_links(path):
            raise ForeignFileError(path, "is reached through a link")

    def publish(
        self,
        staging: Staging,
        is_same: IsSame,
        *,
        last: Path | None = None,
        superseded: Collection[Path] = (),
        carried: Collection[Path] = (),
    ) -> list[Path]:
        """Publish staged files; what is in their way is kept, set aside or the reason to stop.

        Parameters
        ----------
        staging : Staging
            The files.
        is_same : callable
            Whether an existing file holds what a staged one does.
        last : Path, optional
            The final name to appear last.
        superseded : collection of Path
            Files that go to ``replaced/`` although they are as we wrote them.
        carried : collection of Path
            Files of which the staged ones hold everything that others put there.

        Returns
        -------
        list of Path
            What was set aside, under the path it had.

        Raises
        ------
        ForeignFileError
            When somebody else's file is in the way; then nothing was touched.
        """
        ways = {
            final: self.find_way(final, staged, is_same)
            for final, staged in staging.staged.items()
            if final not in carried
        }
        aside = [f for f, way in ways.items() if way is Way.ASIDE or f in superseded]
        aside = [final for final in aside if os.path.lexists(final)]
        staging.note_published()
        for final in aside:
            set_aside(self.layout, final, leave=True)
        for final, way in ways.items():
            if way is Way.TAKEN:
                staging.drop(final)
        staging.publish(last=last)
        return aside

    def remove(self, path: Path, *, keep_copy: bool = False) -> bool:
        """Remove a file that is ours; one that was altered goes to ``replaced/``.

        Parameters
        ----------
        path : Path
            The file.
        keep_copy : bool
            It goes to ``replaced/`` in any case.

        Returns
        -------
        bool
            Whether it was set aside. What is not ours, or reached through a link, stays.
        """
        if not (self.lists(path) and path.exists() and self._is_reached_without_links(path)):
            return False
        is_aside = keep_copy or path.is_symlink() or not self.is_as_written(path)
        if is_aside:
            set_aside(self.layout, path)
        else:
            path.unlink(missing_ok=True)
        for top in self._tops:
            if path.is_relative_to(top):
                above = path.relative_to(top).parents
                remove_if_empty(*(top / folder for folder in above if folder.name))
        return is_aside

    def _aside_or_raise(self, final: Path) -> Way:
        if self.adopt:
            return Way.ASIDE
        raise ForeignFileError(final, "is in the way and nothing that this program wrote")

    def _is_reached_without_links(self, path: Path) -> bool:
        """Return whether no folder between ``grouped`` or ``descriptor`` and a file is a link."""
        for top in self._tops:
            if path.is_relative_to(top):
                above = path.relative_to(top).parents
                return not any((top / folder).is_symlink() for folder in above if folder.name)
        return True


def join_listed(*sources: Mapping[str, str] | Identities) -> Identities:
    """Return path -> identities of several lists of files."""
    found: dict[str, frozenset[str]] = {}
    for source in sources:
        for path, known in source.items():
            more = frozenset([known]) if isinstance(known, str) else known
            found[path] = found.get(path, frozenset()) | more
    return found
