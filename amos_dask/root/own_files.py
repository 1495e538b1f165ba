"""The files under ROOT_DIR that are ours besides those of samples, and how one is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from amos_dask.root.identity import identity
from amos_dask.root.journal import Journal
from amos_dask.root.layout import Layout
from amos_dask.root.ownership import IsSame, Ownership, join_listed
from amos_dask.root.staging import Staging, write_text
from amos_dask.root.table_state import read_table_state

_JOURNAL = "files"


def same_bytes(existing: Path, staged: Path) -> bool:
    """Return whether two files are the same, byte for byte."""
    return existing.read_bytes() == staged.read_bytes()


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
    """

    def __init__(self, layout: Layout, *, adopt: bool = False) -> None:
        self.layout = layout
        self._journal = Journal(layout, _JOURNAL)
        self._own = _read(layout)
        state = read_table_state(layout)  # all that version 0.1.0 remembers
        earlier = {} if state is None else {**state.tables, **state.others}
        listed = join_listed({**earlier, **self._own}, self._journal.files())
        self.ownership = Ownership(layout, listed, adopt)
        self.set_aside: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        content = json.dumps(self._own, ensure_ascii=False, indent=0)
        write_text(self.layout.own_files, content)
        if exc_type is None:
            self._journal.remove()

    def write(
        self, final: Path, write: Callable[[Path], object], is_same: IsSame = same_bytes
    ) -> None:
        """Write a file that appears complete; what is in its way stays, makes way, or stops us.

        Parameters
        ----------
        final : Path
            The file.
        write : callable
            Is given a temporary name to write to.
        is_same : callable
            Whether a file that is there holds what was written.

        Raises
        ------
        ForeignFileError
            When somebody else's file is in the way; it was not touched.
        """
        with Staging(self._journal) as staging:
            write(staging.path_for(final))
            self.set_aside += self.ownership.publish(staging, is_same)
        self._own[self.layout.key(final)] = identity(final)

    def write_text(self, final: Path, text: str) -> None:
        """Write a text file as `write` does."""
        self.write(final, lambda path: path.write_text(text, encoding="utf-8"))

    def remove(self, path: Path) -> None:
        """Remove a file if it is ours; one that was altered is set aside."""
        if self.ownership.remove(path):
            self.set_aside.append(path)
        self._own.pop(self.layout.key(path), None)


def _read(layout: Layout) -> dict[str, str]:
    with suppress(OSError, ValueError, AttributeError):
        content = json.loads(layout.own_files.read_text(encoding="utf-8"))
        return {str(path): str(known) for path, known in content.items()}
    return {}
