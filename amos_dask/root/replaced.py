"""``replaced/``: what had to make way for our files, by the number of the run."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from amos_dask.root.layout import Layout
from amos_dask.root.staging import flush_to_disk, write_text


def run_number(layout: Layout) -> int:
    """Return the number of the run: one more than the last that replaced something.

    It is remembered until the run ends in order, so that after a kill the next run goes on under
    the same number. Who gives work to others asks first, so that all find the same.
    """
    with suppress(OSError, ValueError):
        return int(layout.run_number.read_text(encoding="utf-8"))
    number = 1 + max((int(path.name) for path in _folders(layout)), default=0)
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
    filecmp.clear_cache()  # which knows files by their sizes and times
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
    below = key if path.is_relative_to(layout.root) else f"elsewhere/{key.lstrip('/')}"
    return layout.replaced / str(run_number(layout)) / below


def _next_free(place: Path) -> Path:
    stem, dot, rest = place.name.partition(".")
    names = (place.with_name(f"{stem} ({number}){dot}{rest}") for number in count(2))
    return next(name for name in names if not os.path.lexists(name))
