"""New workbooks: openpyxl makes all of one but its rows, which are XML of our own."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zipfile import ZIP64_LIMIT, ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import to_excel

from amos_dask.root.staging import temporary_name
from amos_dask.root.table_state import OwnFile, OwnSheet
from amos_dask.tables.cells import LARGEST_CELL, Cells, add_worksheets_of, describe, text_like

_AT_ONCE = 1000  # rows
_TAGS = 120  # bytes of XML around what a cell holds, at most
_BYTES_A_CHARACTER = 5  # at most, as UTF-8 or as ``&amp;``
_DAY = datetime.datetime(2000, 1, 1)

# What is of one type looks alike; the numbers are those of the workbook's styles.
_Styles = Mapping[type, int]


def save_workbook(path: Path, sheets: Mapping[str, Cells]) -> None:
    """Write tables as the worksheets of a new workbook.

    Its cells are those that `add_table` writes, in a tenth of the time: for many samples openpyxl's
    8 us a cell would be longer than the samples take.

    Parameters
    ----------
    path : Path
        The ``.xlsx``; written over if it exists.
    sheets : mapping of str to Cells
        Worksheet title -> table. Strings become text cells whatever they look like (never
        formulas), numbers stay numbers. What is longer than a worksheet can be goes on in
        ``title (2)`` and so on; `read_sheet` reads all of it.
    """
    workbook, packed = Workbook(write_only=True), io.BytesIO()
    try:
        made = [add_worksheets_of(workbook, title, table) for title, table in sheets.items()]
        styles = _register_styles(workbook)
        workbook.save(packed)
    except BaseException:  # Ctrl-C as well
        # Left to the garbage collector, half-written worksheets complain on stderr.
        for sheet in workbook.worksheets:
            with suppress(Exception):
                sheet.close()
        raise
    parts = {sheet.path.lstrip("/"): part for of_table in made for sheet, part in of_table}
    with ZipFile(packed) as without_rows, ZipFile(path, "w", ZIP_DEFLATED) as book:
        for name in without_rows.namelist():
            part = parts.get(name, _NO_ROWS)
            before, end, after = without_rows.read(name).partition(b"</sheetData>")
            with book.open(name, "w", force_zip64=_may_be_long(part)) as file:
                file.write(before)
                for rows in _rows(part, styles):
                    file.write(rows.encode())
                file.write(end + after)


_NO_ROWS = Cells((), ())


def _may_be_long(table: Cells) -> bool:
    """Return whether the XML may be more than a zip entry holds without zip64."""
    n_cells = len(table.rows) * len(table.columns)
    if n_cells * (_TAGS + _BYTES_A_CHARACTER * LARGEST_CELL) < ZIP64_LIMIT:
        return False
    n_characters = sum(len(v) for row in table.rows for v in row if isinstance(v, str))
    return n_cells * _TAGS + n_characters * _BYTES_A_CHARACTER > ZIP64_LIMIT


def _register_styles(workbook: Workbook) -> dict[type, int]:
    sheet: Any = workbook.worksheets[0]
    times: tuple[Any, ...] = (_DAY, _DAY.date(), _DAY.time())
    of_times = {type(time): WriteOnlyCell(sheet, time).style_id for time in times}
    return {str: text_like(sheet).style_id, **of_times}


def _rows(table: Cells, styles: _Styles) -> Iterator[str]:
    """Yield the XML of many rows at once, from the second on."""
    letters = [get_column_letter(index + 1) for index in range(len(table.columns))]
    for start in range(0, len(table.rows), _AT_ONCE):
        rows = []
        for number, values in enumerate(table.rows[start : start + _AT_ONCE], start + 2):
            cells = (
                _cell(f"{letter}{number}", value, styles)
                for letter, value in zip(letters, values, strict=True)
                if value is not None
            )
            rows.append(f'<row r="{number}">{"".join(cells)}</row>')
        yield "".join(rows)


def _cell(place: str, value: Any, styles: _Styles) -> str:
    if isinstance(value, str):
        text = f'<is><t xml:space="preserve">{escape(value)}</t></is>'
        return f'<c r="{place}" s="{styles[str]}" t="inlineStr">{text}</c>'
    if isinstance(value, (int, float)):
        return f'<c r="{place}"><v>{value!r}</v></c>'
    # A datetime is a date too, and stands before it.
    kind = next(kind for kind in styles if isinstance(value, kind))
    number = to_excel(value)  # type: ignore[no-untyped-call]
    return f'<c r="{place}" s="{styles[kind]}"><v>{number!r}</v></c>'


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
    described = {title: describe(title, table) for title, table in draft.sheets.items()}
    if draft.known is not None and described == draft.known.sheets:
        return Drafted(described, None)
    path = draft.folder / temporary_name(Path(draft.name).name)
    save_workbook(path, draft.sheets)
    return Drafted(described, path)
