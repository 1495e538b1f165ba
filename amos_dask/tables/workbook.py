"""Workbooks that are there: read, described, and given more worksheets with openpyxl."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.utils.exceptions import InvalidFileException

from amos_dask.errors import ManifestError
from amos_dask.root.table_state import OwnSheet
from amos_dask.tables.cells import LARGEST_SHEET, Cells, checksum, is_compared
from amos_dask.tables.new_workbook import Look, lay_out, mark, marked, text_cell

# Of names of the workbooks that openpyxl reads.
_ENDINGS = (".xlsx", ".xlsm", ".xltx", ".xltm")
# Excel's rules for worksheet titles; a split's name is part of file names as well.
_FORBIDDEN_IN_TITLE = frozenset("[]:*?/\\'\"<>|")
_LONGEST_TITLE = 31
# What openpyxl lets through of its parts when a workbook is damaged.
_DAMAGED = (
    *(OSError, LookupError, ValueError, TypeError, AttributeError),
    *(InvalidFileException, zipfile.BadZipFile, zlib.error),
    SyntaxError,  # of XML, whether openpyxl reads it with lxml or without
)
# Parts that are written anew with all that they say, or that a program makes again by itself.
_CARRIED = frozenset(
    {
        *("[Content_Types]", ".rels", "workbook", "sheet", "sharedStrings", "styles", "theme"),
        *("comments", "comment", "commentsDrawing", "vmlDrawing", "table", "externalLink"),
        *("core", "app", "custom", "calcChain", "printerSettings"),
    }
)
_NUMBER = re.compile(r"\d+$")
# In worksheets: extensions such as sparklines, and formulas with the value they had when saved.
_LOST_IN_SHEETS = re.compile(
    rb"<(?:\w+:)?extLst\b|(?:</(?:\w+:)?f>|<(?:\w+:)?f\b[^>]*/>)\s*<(?:\w+:)?v>[^<]"
)
_LOST_IN_TEXTS = re.compile(rb"<(?:\w+:)?rPr\b")  # a font for a part of a cell


def read_sheet(path: Path, title: str, *, values_of: Collection[str] = ()) -> pd.DataFrame:
    """Read a worksheet as a frame of objects: text, numbers, and None where blank.

    Parameters
    ----------
    path : Path
        The workbook.
    title : str
        The worksheet.
    values_of : collection of str
        Columns that must not hold formulas, whose text is not their value. If any are given, other
        columns with formulas are left out.

    Raises
    ------
    ManifestError
        When the workbook or the worksheet cannot be read, or there is a formula.
    """
    rows, formulas = list[list[Any]](), dict[int, str]()
    with closing(load(path, read_only=True)) as workbook:
        if title not in workbook.sheetnames:
            found = ", ".join(workbook.sheetnames)
            raise ManifestError(f"{path}: there is no worksheet {title!r}; found {found}.")
        try:
            for row in read_table(workbook, title):
                rows.append([cell.value for cell in row])
                for index, cell in enumerate(row):
                    if cell.data_type == "f":
                        formulas.setdefault(index, cell.coordinate)
        except _DAMAGED as error:
            raise _damaged_error(path, error) from error
    if not rows:
        raise ManifestError(f"{path}: worksheet {title!r} is empty.")
    for index, place in formulas.items() if values_of else ():
        if rows[0][index : index + 1] and rows[0][index] in values_of:
            raise ManifestError(
                f"{path}: cell {place} of worksheet {title!r} holds a formula; put its value there."
            )
    # Notes that someone wrote beside the table have no column name; rows may end early.
    left_out = formulas if values_of else {}
    named = [i for i, name in enumerate(rows[0]) if name is not None and i not in left_out]
    columns = pd.Index([str(rows[0][i]) for i in named])
    if not columns.is_unique:
        repeated = columns[columns.duplicated()][0]
        raise ManifestError(f"{path}: worksheet {title!r} has two columns {repeated!r}.")
    body = [[row[i] if i < len(row) else None for i in named] for row in rows[1:]]
    return pd.DataFrame(body, columns=columns, dtype=object)


def sheet_names(path: Path) -> list[str]:
    """Return the titles of a workbook's worksheets."""
    with closing(load(path, read_only=True)) as workbook:
        return list(workbook.sheetnames)


def require_title(title: str) -> None:
    """Raise `ManifestError` when a name cannot be a worksheet's title."""
    if (
        not 1 <= len(title) <= _LONGEST_TITLE
        or _FORBIDDEN_IN_TITLE & set(title)
        or not title.isprintable()
        or title.strip(" .") != title
        or title.casefold() == "history"
    ):
        raise ManifestError(
            f"{title!r} cannot name a worksheet: use 1 to 31 letters, digits, _ or -."
        )


def require_columns(frame: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    """Raise `ManifestError` naming the first of the columns that a frame lacks."""
    for name in columns:
        if name not in frame.columns:
            raise ManifestError(f"{path}: column {name!r} is missing.")


def find_further(workbook: Workbook, title: str) -> list[str]:
    """Return the worksheets in which a table goes on after its first one.

    A workbook of version 0.1.0 has no list of them; there one goes on after a full one.
    """
    further = re.compile(rf"{re.escape(title)} \(\d+\)", re.IGNORECASE)
    told = [name for name in marked(workbook) if further.fullmatch(name)]
    if told:
        return told
    found = [title]
    while (name := f"{title} ({len(found) + 1})") in workbook.sheetnames:
        if not _is_full(workbook[found[-1]]):
            break
        found.append(name)
    return found[1:]


def _is_full(sheet: Any) -> bool:
    return sum(1 for _ in sheet.iter_rows(max_col=1)) == LARGEST_SHEET


def read_table(workbook: Workbook, title: str) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of a table's header and of all its rows."""
    yield from workbook[title].iter_rows()
    for name in find_further(workbook, title):
        yield from workbook[name].iter_rows(min_row=2)


def fits_one(table: Cells) -> bool:
    """Return whether one worksheet is enough for a table."""
    return len(table.rows) < LARGEST_SHEET


def add_table(workbook: Workbook, title: str, table: Cells) -> None:
    """Write a table's worksheets at the end of a workbook."""
    for sheet, part, looks, links in lay_out(workbook, {title: table}):
        for row in part.rows:
            sheet.append([_cell(sheet, *pair) for pair in zip(row, looks, strict=True)])
        for number, column, target in links:
            sheet.cell(number, column).hyperlink = target


def _cell(sheet: Any, value: Any, look: Look) -> Any:
    if isinstance(value, str):
        return text_cell(sheet, look.marks.get(value, look.text), value)
    if not isinstance(value, (int, float)):
        return value
    cell: Any = WriteOnlyCell(sheet, value)
    cell._style = look.number._style
    if isinstance(value, float):
        cell._value = repr(value)  # openpyxl would write 16 digits, which may not be enough
    return cell


def remove_further(workbook: Workbook, title: str) -> None:
    """Remove the worksheets in which a table goes on."""
    for name in find_further(workbook, title):
        del workbook[name]
    mark(workbook, [name for name in marked(workbook) if name in workbook.sheetnames])


def load(path: Path, *, read_only: bool = False) -> Workbook:
    """Open a workbook; raise `ManifestError` when that cannot be done."""
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such workbook.")
    if path.suffix.lower() not in _ENDINGS:
        raise ManifestError(f"{path}: no Excel workbook, by its name; save it as .xlsx.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of parts that openpyxl does not carry
            # Of a damaged file openpyxl would leave the file open.
            return load_workbook(io.BytesIO(path.read_bytes()), read_only=read_only)
    except _DAMAGED as error:
        raise _damaged_error(path, error) from error


def _damaged_error(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{path}: not a readable Excel workbook ({error}).")


def describe_worksheet(workbook: Workbook, title: str, columns: Sequence[str]) -> OwnSheet:
    """Return what is known of a worksheet, of those of our columns that it has."""
    read = read_table(workbook, title)
    header = [None if cell.value is None else str(cell.value) for cell in next(read, ())]
    found = [name for name in columns if name in header]
    compared = [name for name in found if is_compared(name, title)]
    places = [header.index(name) for name in compared]
    rows = ([_read(row[at]) if at < len(row) else None for at in places] for row in read)
    return OwnSheet(tuple(found), checksum(compared, rows))


def _read(cell: Any) -> Any:
    return f"formula {cell.value}" if cell.data_type == "f" else cell.value


def loses_something(path: Path) -> bool:
    """Return whether a workbook holds what is lost when openpyxl reads and saves it.

    Such as charts, images, pivot tables, macros, threaded comments, and the values of formulas,
    which are worked out again when the workbook is opened.
    """
    with zipfile.ZipFile(path) as parts:
        return any(_is_lost(parts, name) for name in parts.namelist())


def _is_lost(parts: zipfile.ZipFile, name: str) -> bool:
    place = PurePosixPath(name)
    if name.endswith("/"):
        return False
    kind = _NUMBER.sub("", place.name.removesuffix(".rels").partition(".")[0] or ".rels")
    if kind not in _CARRIED:
        return True
    if place.suffix == ".xml" and place.parent.name == "worksheets":
        return _LOST_IN_SHEETS.search(parts.read(name)) is not None
    return kind == "sharedStrings" and _LOST_IN_TEXTS.search(parts.read(name)) is not None
