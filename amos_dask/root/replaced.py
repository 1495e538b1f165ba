"""``replaced/``: where a file of the user's, or of an archive that changed, goes before ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from amos_dask.root.layout import Layout


def run_number(layout: Layout) -> int:
    """Return the number of the run: one more than the last that replaced something.

    It is remembered until the run ends in order, so that after a kill the next run goes on under
    the same number.
    """
    with suppress(OSError, ValueError):
        return int(layout.run_number.read_text(encoding="utf-8"))
    numbers = [int(path.name) for path in _folders(layout)]
    layout.state.mkdir(parents=True, exist_ok=True)
    try:
        with layout.run_number.open("x", encoding="utf-8") as file:
            file.write(str(1 + max(numbers, default=0)))
    except FileExistsError:
        pass  # another worker was faster
    return int(layout.run_number.read_text(encoding="utf-8"))


def end_run(layout: Layout) -> None:
    """Forget the number of a run that has ended in order."""
    layout.run_number.unlink(missing_ok=True)


def set_aside(layout: Layout, path: Path) -> None:
    """Move a file to ``replaced/{number of the run}/`` under its own path.

    Nothing is overwritten there: a second file of one name in one run gets a number.
    """
    place = _place(layout, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, place if not os.path.lexists(place) else _next_free(place))


def find_set_aside(layout: Layout, paths: Iterable[Path]) -> list[Path]:
    """Return those of the paths under ROOT_DIR of which this run has set a file aside."""
    if not layout.replaced.is_dir():
        return []
    return [path for path in paths if os.path.lexists(_place(layout, path))]


def replaced_bytes(layout: Layout) -> int:
    """Return the size of everything that was ever set aside."""
    files = (path for folder in _folders(layout) for path in folder.rglob("*"))
    return sum(path.lstat().st_size for path in files if not path.is_dir())


def _folders(layout: Layout) -> list[Path]:
    return [path for path in layout.replaced.glob("*") if path.name.isdecimal()]


def _place(layout: Layout, path: Path) -> Path:
    """Return where a file goes; what lies outside ROOT_DIR goes below ``elsewhere``."""
    key = layout.key(path)
    is_inside = path.is_relative_to(layout.root)
    below = key if is_inside else f"elsewhere/{key.lstrip('/')}"
    return layout.replaced / str(run_number(layout)) / below


def _next_free(place: Path) -> Path:
    stem, dot, rest = place.name.partition(".")
    names = (place.with_name(f"{stem} ({number}){dot}{rest}") for number in count(2))
    return next(name for name in names if not os.path.lexists(name))
