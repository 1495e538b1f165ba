"""Tables as worksheets hold them: their cells, what their columns are, how they look, and links."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from openpyxl import Workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.properties import PageSetupProperties

from amos_dask.root.layout import SPLIT_NAME
from amos_dask.root.table_state import OwnSheet

if TYPE_CHECKING:  # workers, which write tables, need no pandas
    import pandas as pd

LARGEST_CELL = 32_767
LARGEST_SHEET = 1_048_576  # rows, the header included
# XML cannot hold these; openpyxl refuses them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_MISSING = ("NAType", "NaTType")  # of pandas


class Cells(NamedTuple):
    """A table as a worksheet holds it."""

    columns: tuple[str, ...]
    rows: Sequence[list[Any]]  # texts, whole numbers, finite floats, times; None for a blank cell
    # From the workbook's folder to that of the paths, such as ``../``; None for no links to them.
    links_from: str | None = None


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


COLUMNS_SHEET = "Columns"
_COLUMNS = ("worksheet", "column", "meaning")
_ROW = re.compile(r"^\| (`.+`) \| (.+) \|$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\\\{\w+\\\}")  # as `re.escape` leaves it
_ANY_SPLIT = "split01_any"  # stands for a split of whatever name


@cache
def _read_tables() -> tuple[dict[re.Pattern[str], str], ...]:
    """Return what each table of the documents says: names of columns -> their text."""
    text = files("amos_dask.tables").joinpath("columns.md").read_text(encoding="utf-8")
    tables = []
    for part in text.split("| column |")[1:]:
        told = [(n, m.replace("`", "")) for ns, m in _ROW.findall(part) for n in ns.split(", ")]
        told.sort(key=lambda row: -len(row[0]))  # ``mask_…_existence`` before ``mask_…``
        names = ((_PLACEHOLDER.sub(".+", re.escape(n.strip("`"))), meant) for n, meant in told)
        tables.append({re.compile(name): meant for name, meant in names})
    return tuple(tables)


@cache
def explain_columns(columns: tuple[str, ...]) -> Mapping[str, str]:
    """Return what the columns of a worksheet are: of those that the documents name.

    The table of the documents is the one that tells most of them, and least of others.

    Parameters
    ----------
    columns : sequence of str
        Their names, such as ``ID``, ``mask_01_spleen``.

    Returns
    -------
    dict of str to str
        Column -> text.
    """

    def find(table: Mapping[re.Pattern[str], str]) -> dict[str, str]:
        matches = ((c, next((p for p in table if p.fullmatch(c)), None)) for c in columns)
        return {column: table[pattern] for column, pattern in matches if pattern is not None}

    found = ((find(table), len(table)) for table in _read_tables())
    return max(found, key=lambda pair: (len(pair[0]), -pair[1]))[0]


def columns_table(sheets: Mapping[str, Sequence[str]]) -> Cells:
    """Return worksheet ``Columns``: a row a column, with the first worksheet that has it.

    Parameters
    ----------
    sheets : mapping of str to sequence of str
        Worksheet title -> columns; one called as its worksheet tells the parts of a split.
    """
    rows = dict[str, list[Any]]()
    for title, columns in sheets.items():
        names = tuple(_ANY_SPLIT if name == title else name for name in columns)
        told = explain_columns(names)
        for name in columns:
            meaning = told.get(_ANY_SPLIT if name == title else name)
            if meaning is not None:
                rows.setdefault(name, [title, name, meaning])
    return Cells(_COLUMNS, [[_cell_value(value) for value in row] for row in rows.values()])


_BITS = 128
_DIGITS = 10  # programs save 15 to 17 of a number


def unpacked(sheets: Mapping[str, Cells]) -> dict[str, Cells]:
    """Return tables with their rows in lists: as `Compact` each look at them costs time."""
    return {title: table._replace(rows=list(table.rows)) for title, table in sheets.items()}


def describe(sheets: Mapping[str, Cells]) -> dict[str, OwnSheet]:
    """Return what is known of worksheets that hold tables."""
    return {title: _describe(title, table) for title, table in sheets.items()}


def _describe(title: str, table: Cells) -> OwnSheet:
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


_LINKED = re.compile(r"info|volume|volume_\d+_.+|mask")
_UNSAFE = re.compile(r"[^A-Za-z0-9_./-]+")
_MOST_LINKS = 65_530  # of a worksheet; Excel removes all of one that has more


def find_links(columns: Sequence[str], n_rows: int = 0) -> dict[int, int]:
    """Return place of a column whose cells lead somewhere -> place of that with the path.

    ``ID`` leads to the folder of ``info``, columns of files to these.

    Parameters
    ----------
    columns : sequence of str
        Their names.
    n_rows : int
        Where there would be too many links, only the folders have them, or nothing has.
    """
    if "info" not in columns or "ID" not in columns:
        return {}
    links = {columns.index("ID"): columns.index("info")}
    links |= {index: index for index, name in enumerate(columns) if _LINKED.fullmatch(name)}
    for fewer in (links, dict(list(links.items())[:1])):
        if len(fewer) * n_rows <= _MOST_LINKS:
            return fewer
    return {}


def link_targets(
    rows: Iterable[Sequence[Any]], links: Mapping[int, int]
) -> Iterator[tuple[int, int, str]]:
    """Yield the cells that lead somewhere, by number of row and place, and the paths there."""
    for number, row in enumerate(rows if links else (), start=2):
        for index, of in links.items():
            path = row[of]
            if isinstance(path, str) and row[index] is not None:
                yield number, index, path if index == of else path.rpartition("/")[0]


def _link_to(path: str, prefix: str) -> str:
    """Return a link to a path, relative to the workbook; nothing in it is a scheme, or XML."""
    # As `quote` of it all, in a quarter of the time.
    return _UNSAFE.sub(lambda found: quote(found[0]), f"{prefix}{path}")


def is_link_to(target: str | None, path: str) -> bool:
    """Return whether a link, whichever program saved it, leads to a path below any folder."""
    told = PurePosixPath(unquote(target or "").replace("\\", "/")).parts
    wanted = PurePosixPath(path).parts
    return bool(wanted) and told[-len(wanted) :] == wanted


_FORMATS = {
    re.compile(pattern): number_format
    for pattern, number_format in (
        (r"sp[xyz]", "0.000"),
        (r"n_voxels|n_not_finite", "#,##0"),
        (r"volume_mm3", "#,##0.00"),
        (r"volume_cm3_\w+", "#,##0.0"),
        (r"voxel_ratio_\w+", "0.000%"),
        (r"min|p0\.5|median|mean|std|p99\.5|max", "#,##0.0##"),
    )
}
_LINK_FONT = Font(name="Calibri", sz=11, color="0563C1", underline="single")
_MARKS = {
    "severity": {
        "error": PatternFill("solid", fgColor="F4B6B6"),
        "warning": PatternFill("solid", fgColor="FFE9A8"),
    }
}
_WIDTHS = (8, 48)
_ROWS_THAT_SET_WIDTHS = 200
_HEADER_FONT = Font(name="Calibri", sz=11, bold=True)
_HEADER_FILL = PatternFill("solid", fgColor="E8EEF4")
# Columns of files, which a click folds away.
_OF_FILES = re.compile(r"info|volume|volume_\d+_.+|mask|mask_\d+_(?!.*_existence$).+")


class Look(NamedTuple):
    """How the cells of a column look: cells that are like them."""

    text: Any
    number: Any
    marks: Mapping[str, Any]  # of these texts


class LaidOut(NamedTuple):
    """A worksheet that has everything but its rows."""

    sheet: Any
    table: Cells  # its part of the rows
    looks: Sequence[Look]
    links: Sequence[tuple[int, int, str]]  # row and column, from 1 on, and where the cell leads


def lay_out(workbook: Workbook, sheets: Mapping[str, Cells]) -> list[LaidOut]:
    """Make the worksheets of tables at the end of a workbook.

    A table longer than a worksheet goes on in others. A name of the workbook lists them: a
    worksheet that somebody copied is called alike.
    """
    n_rows, made = LARGEST_SHEET - 1, list[LaidOut]()  # without the header
    further = marked(workbook)
    for title, table in sheets.items():
        for start in range(0, len(table.rows) or 1, n_rows):
            free = (f"{title} ({number})" for number in count(2))
            name = next(n for n in free if n not in workbook.sheetnames) if start else title
            sheet = workbook.create_sheet(name)
            further += [sheet.title] if start else []
            made.append(_lay_out(sheet, table._replace(rows=table.rows[start : start + n_rows])))
    mark(workbook, further)
    return made


def _lay_out(sheet: Any, table: Cells) -> LaidOut:
    """Write the header, and what goes before it: a write-only sheet is streamed."""
    sheet.freeze_panes = "B2"
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    sheet.print_title_rows = "1:1"
    sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", False
    links = {} if table.links_from is None else find_links(table.columns, len(table.rows))
    looks = []
    for index, name in enumerate(table.columns):
        form = next((form for names, form in _FORMATS.items() if names.fullmatch(name)), None)
        looks.append(_look(sheet, name, form, is_link=index in links))
        dimension = sheet.column_dimensions[get_column_letter(index + 1)]
        dimension.width = _width(table, index, form)
        dimension.outlineLevel = int(_OF_FILES.fullmatch(name) is not None)
    if any(map(_OF_FILES.fullmatch, table.columns)):
        sheet.sheet_format.outlineLevelCol = 1
    if table.columns:
        last = get_column_letter(len(table.columns))
        sheet.auto_filter.ref = f"A1:{last}{len(table.rows) + 1}"
    header = WriteOnlyCell(sheet)
    header.font, header.fill = _HEADER_FONT, _HEADER_FILL
    sheet.append([text_cell(sheet, header, name) for name in table.columns])
    targets = [
        (number, index + 1, _link_to(path, table.links_from or ""))
        for number, index, path in link_targets(table.rows, links)
    ]
    return LaidOut(sheet, table, looks, targets)


def _look(sheet: Any, name: str, form: str | None, *, is_link: bool) -> Look:
    # Styled once: openpyxl looks a style up each time one is set.
    number = WriteOnlyCell(sheet)
    number.number_format = form or number.number_format
    text = _text_like(sheet)
    if is_link:
        text.font = _LINK_FONT
    marks = {}
    for value, fill in _MARKS.get(name, {}).items():
        marks[value] = _text_like(sheet)
        marks[value].fill = fill
    return Look(text, number, marks)


def _text_like(sheet: Any) -> Any:
    cell = WriteOnlyCell(sheet)
    cell.number_format = "@"
    return cell


def _width(table: Cells, index: int, form: str | None) -> int:
    cells = (row[index] for row in table.rows[:_ROWS_THAT_SET_WIDTHS])
    shown = (_n_shown(value, is_formatted=form is not None) for value in cells if value is not None)
    narrowest, widest = _WIDTHS
    return min(max(len(table.columns[index]), narrowest, *shown), widest) + 2


def _n_shown(value: Any, *, is_formatted: bool) -> int:
    is_number = is_formatted and isinstance(value, (int, float))
    return len(f"{value:,.3f}" if is_number else str(value))


def fills_of_marks(workbook: Any) -> frozenset[int]:
    """Return the numbers that a workbook has for the fills of our marks."""
    return frozenset(workbook._fills.add(f) for marks in _MARKS.values() for f in marks.values())


def text_cell(sheet: Any, like: Any, value: str) -> Any:
    """Return a cell with a text, whatever it looks like, that looks as another does."""
    cell: Any = WriteOnlyCell(sheet)
    # Not through cell.value: openpyxl takes a leading = for a formula.
    cell._style, cell._value, cell.data_type = like._style, value, "s"
    return cell


# The name that lists the worksheets in which tables go on.
_MARK = "amos_dask_further_worksheets"


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
