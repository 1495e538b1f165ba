"""Tables as worksheets hold them: their cells, what is known of these, and how they look."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from openpyxl import Workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.properties import PageSetupProperties

from amos_dask.root.layout import SPLIT_NAME
from amos_dask.root.table_state import OwnSheet
from amos_dask.tables.looks import find_links, number_formats

if TYPE_CHECKING:  # workers, which write tables, need no pandas
    import pandas as pd

LARGEST_CELL = 32_767
LARGEST_SHEET = 1_048_576  # rows, the header included
_WIDTHS = (8, 48)
_ROWS_THAT_SET_WIDTHS = 200
_HEADER_FONT = Font(name="Calibri", sz=11, bold=True)
_HEADER_FILL = PatternFill("solid", fgColor="E8EEF4")
# The name that lists the worksheets in which tables go on.
_MARK = "amos_dask_further_worksheets"
# XML cannot hold these; openpyxl refuses them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Columns of files, which a click folds away.
_OF_FILES = re.compile(r"info|volume|volume_\d+_.+|mask|mask_\d+_(?!.*_existence$).+")
_MISSING = ("NAType", "NaTType")  # of pandas


class Cells(NamedTuple):
    """A table as a worksheet holds it."""

    columns: tuple[str, ...]
    rows: Sequence[list[Any]]  # texts, whole numbers, finite floats, times; None for a blank cell
    # From the workbook's folder to that of the paths, such as ``../``; None for no links to them.
    links_from: str | None = None

    def links(self) -> dict[int, int]:
        """Return the columns whose cells are links, as `find_links` does."""
        return {} if self.links_from is None else find_links(self.columns, len(self.rows))


def cells_of(frame: pd.DataFrame, links_from: str | None = None) -> Cells:
    """Return what the cells of a frame hold: text as it is, numbers as Python's."""
    rows = [[_cell_value(value) for value in row] for row in frame.to_numpy(object)]
    return Cells(tuple(map(str, frame.columns)), rows, links_from)


def _cell_value(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)[:LARGEST_CELL] or None
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value
    if isinstance(value, (bool, int, np.integer)):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


_BITS = 128
_DIGITS = 10  # programs save 15 to 17 of a number


def describe(title: str, table: Cells) -> OwnSheet:
    """Return what is known of a worksheet that holds a table."""
    compared = [index for index, name in enumerate(table.columns) if is_compared(name, title)]
    names = [table.columns[index] for index in compared]
    rows = [[row[index] for index in compared] for row in table.rows]
    exact = checksum(names, ([repr(value) for value in row] for row in rows))
    return OwnSheet(table.columns, checksum(names, rows), exact)


def is_compared(column: str, title: str) -> bool:
    """Return whether a column is ours alone: parts of a split of one's own may be edited."""
    return column != title or title == SPLIT_NAME


def checksum(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a checksum that does not depend on the order of the rows; blank ones are none."""
    total = 0
    for row in rows:
        texts = [cell_text(value) for value in row]
        if any(texts):
            total += int.from_bytes(_digest(texts))
    return f"{_digest(columns).hex()}-{total % (1 << _BITS):x}"


def _digest(texts: Iterable[str]) -> bytes:
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=_BITS // 8).digest()


def cell_text(value: Any) -> str:
    """Return what a cell says as a text."""
    if value is None:
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, (int, float)):
        return str(int(value))
    return str(value).replace("\r\n", "\n").replace("\r", "\n")


# A table longer than a worksheet goes on in others. A name of the workbook lists them: a worksheet
# that somebody copied is called alike.


def add_worksheets_of(workbook: Workbook, title: str, table: Cells) -> list[tuple[Any, Cells]]:
    """Make a table's worksheets at the end of a workbook; return each with its part of the rows.

    They have everything but those rows.
    """
    n_rows, made = LARGEST_SHEET - 1, list[tuple[Any, Cells]]()  # without the header
    for start in range(0, len(table.rows) or 1, n_rows):
        free = (f"{title} ({number})" for number in count(2))
        name = next(n for n in free if n not in workbook.sheetnames) if start else title
        part = table._replace(rows=table.rows[start : start + n_rows])
        made.append((workbook.create_sheet(name), part))
    mark(workbook, [*marked(workbook), *(sheet.title for sheet, _ in made[1:])])
    for sheet, part in made:
        _lay_out(sheet, part)
    return made


def _lay_out(sheet: Any, table: Cells) -> None:
    """Write the header, and what goes before it: a write-only sheet is streamed."""
    sheet.freeze_panes = "B2"
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    sheet.print_title_rows = "1:1"
    sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", False
    narrowest, widest = _WIDTHS
    formats = number_formats(table.columns)
    for index, name in enumerate(table.columns):
        cells = (row[index] for row in table.rows[:_ROWS_THAT_SET_WIDTHS])
        form = "" if formats[index] is None else ",.3f"
        shown = (len(_shown(value, form)) for value in cells if value is not None)
        dimension = sheet.column_dimensions[get_column_letter(index + 1)]
        dimension.width = min(max(len(name), narrowest, *shown), widest) + 2
        dimension.outlineLevel = int(_OF_FILES.fullmatch(name) is not None)
    if any(map(_OF_FILES.fullmatch, table.columns)):
        sheet.sheet_format.outlineLevelCol = 1
    if table.columns:
        last = get_column_letter(len(table.columns))
        sheet.auto_filter.ref = f"A1:{last}{len(table.rows) + 1}"
    header = WriteOnlyCell(sheet)
    header.font, header.fill = _HEADER_FONT, _HEADER_FILL
    sheet.append([text_cell(sheet, header, name) for name in table.columns])


def _shown(value: Any, form: str) -> str:
    return format(value, form) if form and isinstance(value, (int, float)) else str(value)


def text_cell(sheet: Any, like: Any, value: str) -> Any:
    """Return a cell with a text, whatever it looks like, that looks as another does."""
    cell: Any = WriteOnlyCell(sheet)
    # Not through cell.value: openpyxl takes a leading = for a formula.
    cell._style, cell._value, cell.data_type = like._style, value, "s"
    return cell


def marked(workbook: Workbook) -> list[str]:
    """Return the worksheets that go on with another one's table."""
    mark = workbook.defined_names.get(_MARK)
    places = [] if mark is None else [title for title, _ in mark.destinations]
    return [title for title in places if title in workbook.sheetnames]


def mark(workbook: Workbook, titles: list[str]) -> None:
    """Have a name of the workbook list the worksheets that go on with another one's table."""
    workbook.defined_names.pop(_MARK, None)
    if titles:
        places = ",".join(f"{quote_sheetname(title)}!$A$1" for title in titles)
        workbook.defined_names[_MARK] = DefinedName(_MARK, attr_text=places, hidden=True)
