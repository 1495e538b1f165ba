"""Workbooks that workers write: of many samples they take longer than sending what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amos_dask.root.staging import temporary_name
from amos_dask.root.table_state import OwnFile, OwnSheet
from amos_dask.tables.cells import Cells, describe, unpacked
from amos_dask.tables.new_workbook import save_workbook


@dataclass(frozen=True, slots=True)
class Draft:
    """A workbook that a worker is to write under a temporary name."""

    name: str  # as ROOT_DIR lists it
    sheets: Mapping[str, Cells]
    known: OwnFile | None  # what is there; it is not written if that holds the same
    folder: Path  # where to write it


@dataclass(frozen=True, slots=True)
class Drafted:
    """What became of a draft: what the workbook holds, and where it is if it was written."""

    sheets: Mapping[str, OwnSheet]
    path: Path | None


def write_draft(draft: Draft) -> Drafted:
    """Describe a workbook, and write it unless the one that is there holds the same."""
    sheets = unpacked(draft.sheets)
    described = describe(sheets)
    if draft.known is not None and described == draft.known.sheets:
        return Drafted(described, None)
    path = draft.folder / temporary_name(Path(draft.name).name)
    save_workbook(path, sheets)
    return Drafted(described, path)


def put_drafted(path: Path, sheets: Mapping[str, Cells], written: Path) -> None:
    """Give a path what a worker has written; write it anew where that cannot be moved there."""
    try:
        written.replace(path)
    except OSError:  # its place is on another disk, or it cannot be seen from here
        save_workbook(path, sheets)
