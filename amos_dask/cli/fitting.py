"""Lines made to fit the terminal: broken between words, what goes on is indented."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator

_INDENT = "    "
_LAST_COLUMN = re.compile(r"^(.*\S) {2,}(\S.*)$")


def fitted(line: str) -> list[str]:
    """Return a line as it is or, where stdout is a terminal, in parts for which it has room.

    No word is broken, so that a path, though too long for the terminal, can be copied.

    Parameters
    ----------
    line : str
        Without its end.
    """
    width = shutil.get_terminal_size().columns
    return [*_broken(line, width)] if sys.stdout.isatty() and len(line) > width else [line]


def _broken(line: str, width: int) -> Iterator[str]:
    """Yield a line in parts: before its last column where that is enough, else between words."""
    columns = _LAST_COLUMN.match(line)
    if columns and len(_INDENT + columns[2]) <= width and len(columns[1]) <= width:
        yield columns[1]
        yield _INDENT + columns[2]
        return
    yield from textwrap.wrap(
        line,
        width,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
