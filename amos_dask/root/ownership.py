"""Ours and theirs: what may be written over or removed under ROOT_DIR; ``replaced/``."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from enum import Enum, auto
from itertools import count
from pathlib import Path

from amos_dask.errors import ForeignFileError
from amos_dask.root.identity import identity, look_at
from amos_dask.root.layout import Layout
from amos_dask.root.staging import Identities, Staging, flush_to_disk, remove_if_empty, write_text

# Whether an existing file holds what a new one would: voxels and geometry, cells, text.
IsSame = Callable[[Path, Path], bool]


class Way(Enum):
    """What becomes of what is in the way of a file."""

    FREE = auto()  # nothing is there, or what we wrote
    TAKEN = auto()  # the same content: it stays, and is ours
    ASIDE = auto()  # it goes to replaced/


class Ownership:
    """What of ROOT_DIR is ours.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    *listed : mapping of str to str, or to frozenset of str
        Path relative to ROOT_DIR -> identities under which we wrote it, from a receipt, the list
        of ROOT_DIR's own files, or the journal.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/``.
    """

    def __init__(
        self, layout: Layout, *listed: Mapping[str, str] | Identities, adopt: bool = False
    ) -> None:
        self.layout, self.adopt = layout, adopt
        self._known: dict[Path, set[str]] = {}
        for path, known in ((p, k) for source in listed for p, k in source.items()):
            self.note(layout.root / path, *([known] if isinstance(known, str) else known))

    @property
    def paths(self) -> Collection[Path]:
        """What is ours, be it as we wrote it or not."""
        return self._known.keys()

    def note(self, path: Path, *identities: str) -> None:
        """Count a file as ours that we wrote with an identity."""
        self._known.setdefault(path, set()).update(identities)

    def lists(self, path: Path) -> bool:
        """Return whether an absolute path is one of ours, be it as we wrote it or not."""
        return path in self._known

    def is_as_written(self, path: Path) -> bool:
        """Return whether a file is byte for byte what we wrote, as far as its identity tells."""
        is_there = path in self._known and (path.is_symlink() or path.is_file())
        return is_there and look_at(path) in self._known[path]

    def knows(self, path: Path, copy: Path) -> bool:
        """Return whether a copy of what lay at a path is as we wrote it."""
        is_file = copy.is_file() and not copy.is_symlink()
        return is_file and identity(copy) in self._known.get(path, ())

    def find_way(self, final: Path, staged: Path, is_same: IsSame) -> Way:
        """Return what becomes of what is at a path when a staged file is to appear there.

        Raises
        ------
        ForeignFileError
            When it is somebody else's and holds something else.
        """
        if not os.path.lexists(final):
            return Way.FREE
        if self.is_as_written(final):
            return Way.FREE
        if final.is_symlink() or not final.is_file():
            return self._aside_or_raise(final)
        if self.lists(final):
            return Way.ASIDE
        if identity(final) == identity(staged, final.name) or is_same(final, staged):
            return Way.TAKEN
        return self._aside_or_raise(final)

    def make_way_to(self, paths: Iterable[Path], *, adopt: bool) -> list[Path]:
        """Look for links and files where folders go on the way to files; return those set aside.

        Parameters
        ----------
        paths : iterable of Path
            The files.
        adopt : bool
            Set them aside. Never for who reads what lies behind them.

        Raises
        ------
        ForeignFileError
            When there is one that is to stay. Nothing may be staged before this was asked.
        """
        found = (find_obstacle(self.layout, path) for path in {p.parent: p for p in paths}.values())
        obstacles = list(dict.fromkeys(path for path in found if path is not None))
        for path in obstacles:
            if not adopt:
                what = "a link, which is not followed" if path.is_symlink() else "no folder"
                raise ForeignFileError(path, f"is {what}")
            with suppress(FileNotFoundError):  # another sample has just set it aside
                set_aside(self.layout, path)
        return obstacles

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
        staged = staging.staged
        ways = {
            final: self.find_way(final, temporary, is_same)
            for final, temporary in staged.items()
            if final not in carried
        }
        aside = [f for f, way in ways.items() if way is Way.ASIDE or f in superseded]
        aside = [final for final in aside if os.path.lexists(final)]
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
        is_there = self.lists(path) and os.path.lexists(path)
        if not is_there or find_obstacle(self.layout, path):
            return False
        is_aside = keep_copy or not self.is_as_written(path)
        if is_aside:
            set_aside(self.layout, path)
        else:
            path.unlink(missing_ok=True)
        remove_if_empty(*self.layout.folders_above(path))
        return is_aside

    def _aside_or_raise(self, final: Path) -> Way:
        if self.adopt:
            return Way.ASIDE
        raise ForeignFileError(final, "is in the way and nothing that this program wrote")


def find_obstacle(layout: Layout, path: Path) -> Path | None:
    """Return the first link, or file, that stands for a folder above a path; not above the tops."""
    for folder in reversed(layout.folders_above(path)):
        if folder.is_symlink() or folder.is_file():
            return folder
    return None


def run_number(layout: Layout) -> int:
    """Return the number of the run: one more than the last that replaced something.

    It is remembered until the run ends in order, so that after a kill the next run goes on under
    the same number. Who gives work to others asks first, so that all find the same.
    """
    with suppress(OSError, ValueError):
        return int(layout.run_number.read_text(encoding="utf-8"))
    numbers = [int(path.name) for path in _folders(layout)]
    number = 1 + max(numbers, default=0)
    write_text(layout.run_number, str(number))
    return number


def end_run(layout: Layout) -> None:
    """Forget the number of a run that has ended in order."""
    layout.run_number.unlink(missing_ok=True)


def set_aside(layout: Layout, path: Path, *, leave: bool = False) -> None:
    """Put a file into ``replaced/{number of the run}/`` under its own path.

    Nothing is overwritten there: a second file of one name in one run gets a number; the same
    content, which a killed run has put there, is there once.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    path : Path
        The file; of a folder, all that is in it goes.
    leave : bool
        The file stays too, until a rename takes its place: so it is never missing.
    """
    place = place_in_replaced(layout, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    free = _next_free(place) if os.path.lexists(place) else place
    if path.is_dir() and not path.is_symlink():
        shutil.move(path, free)
        return
    if free == place or not _is_same(path, place):
        _link_or_copy(path, free)
    if not leave:
        path.unlink()


def _is_same(path: Path, place: Path) -> bool:
    if path.is_symlink() or not (path.is_file() and place.is_file()):
        return False
    return filecmp.cmp(path, place, shallow=False)


def _link_or_copy(path: Path, place: Path) -> None:
    try:
        os.link(path, place, follow_symlinks=False)
    except OSError:  # another file system, or one without hard links
        half = place.with_name(f".{place.name}.part~")
        shutil.copy2(path, half, follow_symlinks=False)
        flush_to_disk(half)
        half.rename(place)


def find_set_aside(layout: Layout, paths: Iterable[Path]) -> list[Path]:
    """Return those of the paths under ROOT_DIR of which this run has set a file aside."""
    if not layout.replaced.is_dir():
        return []
    return [path for path in paths if os.path.lexists(place_in_replaced(layout, path))]


def replaced_bytes(layout: Layout) -> int:
    """Return the size of everything that was ever set aside."""
    files = (path for folder in _folders(layout) for path in folder.rglob("*"))
    return sum(path.lstat().st_size for path in files if not path.is_dir())


def _folders(layout: Layout) -> list[Path]:
    return [path for path in layout.replaced.glob("*") if path.name.isdecimal()]


def place_in_replaced(layout: Layout, path: Path) -> Path:
    """Return where a file goes in this run; what lies outside ROOT_DIR goes below ``elsewhere``."""
    key = layout.key(path)
    is_inside = path.is_relative_to(layout.root)
    below = key if is_inside else f"elsewhere/{key.lstrip('/')}"
    return layout.replaced / str(run_number(layout)) / below


def _next_free(place: Path) -> Path:
    stem, dot, rest = place.name.partition(".")
    names = (place.with_name(f"{stem} ({number}){dot}{rest}") for number in count(2))
    return next(name for name in names if not os.path.lexists(name))
