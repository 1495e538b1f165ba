"""Worksheets: frames written with a frozen header, sensible widths and text that stays text."""

from __future__ import annotations

import datetime
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
import pandas as pd
from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from amos_dask.errors import ManifestError
from amos_dask.root.staging import write_file

LARGEST_CELL = 32_767
LARGEST_SHEET = 1_048_576  # rows, the header included
# Excel's rules for worksheet titles; a split's name is part of file names as well.
_FORBIDDEN_IN_TITLE = frozenset("[]:*?/\\'\"<>|")
_LONGEST_TITLE = 31
_WIDTHS = (8, 48)
_ROWS_THAT_SET_WIDTHS = 200
_HEADER_FONT = Font(bold=True)
_HEADER_FILL = PatternFill("solid", fgColor="E8EEF4")
# What openpyxl lets through of its parts when a workbook is damaged.
_DAMAGED = (
    *(OSError, LookupError, ValueError, TypeError, AttributeError),
    *(InvalidFileException, zipfile.BadZipFile, zlib.error, ParseError),
)
# XML cannot hold these; openpyxl refuses them.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_workbook(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write frames as the worksheets of a new workbook that appears complete.

    Parameters
    ----------
    path : Path
        The ``.xlsx``; replaced if it exists.
    sheets : mapping of str to DataFrame
        Worksheet title -> frame. Missing values become blank cells, strings become text cells
        whatever they look like (never formulas), numbers stay numbers. What is longer than a
        worksheet can be goes on in ``title (2)`` and so on; `read_sheet` reads all of it.
    """
    workbook = Workbook(write_only=True)
    try:
        for title, frame in sheets.items():
            _add_table(workbook, title, frame)
        _save(workbook, path)
    except BaseException:  # Ctrl-C as well
        # Left to the garbage collector, half-written worksheets complain on stderr.
        for sheet in workbook.worksheets:
            with suppress(Exception):
                sheet.close()
        raise


def update_workbook(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write frames as worksheets; worksheets that others added to the workbook stay.

    Raises
    ------
    ManifestError
        When an existing workbook cannot be read.
    """
    names = sheet_names(path) if path.exists() else []
    if all(any(_is_of_table(name, title) for title in sheets) for name in names):
        write_workbook(path, sheets)
        return
    workbook = _load(path, read_only=False)
    for title, frame in sheets.items():
        _add_table(workbook, title, frame, _remove_table(workbook, title))
    _save(workbook, path)


def read_sheet(path: Path, title: str) -> pd.DataFrame:
    """Read a worksheet as a frame of objects: text, numbers, and None where blank.

    Raises
    ------
    ManifestError
        When the workbook or the worksheet cannot be read.
    """
    with closing(_load(path, read_only=True)) as workbook:
        if title not in workbook.sheetnames:
            found = ", ".join(workbook.sheetnames)
            raise ManifestError(f"{path}: there is no worksheet {title!r}; found {found}.")
        try:
            rows = _read_table(workbook, title)
        except _DAMAGED as error:
            raise _damaged_error(path, error) from error
    if not rows:
        raise ManifestError(f"{path}: worksheet {title!r} is empty.")
    # Notes that someone wrote beside the table have no column name; rows may end early.
    named = [index for index, name in enumerate(rows[0]) if name is not None]
    columns = pd.Index([str(rows[0][i]) for i in named])
    if not columns.is_unique:
        repeated = columns[columns.duplicated()][0]
        raise ManifestError(f"{path}: worksheet {title!r} has two columns {repeated!r}.")
    body = [[row[i] if i < len(row) else None for i in named] for row in rows[1:]]
    return pd.DataFrame(body, columns=columns, dtype=object)


def sheet_names(path: Path) -> list[str]:
    """Return the titles of a workbook's worksheets."""
    with closing(_load(path, read_only=True)) as workbook:
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


# A table longer than a worksheet goes on in others: what follows alone knows their titles.


def _split_table(title: str, frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield title and rows of each worksheet that a table needs."""
    n_rows = LARGEST_SHEET - 1  # without the header
    yield title, frame.iloc[:n_rows]
    for number, start in enumerate(range(n_rows, len(frame), n_rows), start=2):
        yield f"{title} ({number})", frame.iloc[start : start + n_rows]


def _is_of_table(name: str, title: str) -> bool:
    """Return whether a worksheet is a table's first or a further one; to Excel case is nothing."""
    return re.fullmatch(rf"{re.escape(title)}( \(\d+\))?", name, re.IGNORECASE) is not None


def _read_table(workbook: Workbook, title: str) -> list[tuple[Any, ...]]:
    """Return the header and all rows of a table."""
    rows = list(workbook[title].iter_rows(values_only=True))
    number = 2
    while (further := f"{title} ({number})") in workbook.sheetnames:
        rows += list(workbook[further].iter_rows(min_row=2, values_only=True))
        number += 1
    return rows


def _remove_table(workbook: Workbook, title: str) -> int | None:
    """Remove a table's worksheets; return where they began."""
    names = [name for name in workbook.sheetnames if _is_of_table(name, title)]
    position = workbook.sheetnames.index(names[0]) if names else None
    for name in names:
        del workbook[name]
    return position


def _add_table(
    workbook: Workbook, title: str, frame: pd.DataFrame, position: int | None = None
) -> None:
    """Write a table's worksheets, from a position on or at the end."""
    for shift, (name, rows) in enumerate(_split_table(title, frame)):
        place = None if position is None else position + shift
        _fill_sheet(workbook.create_sheet(name, place), rows)


def _fill_sheet(sheet: Any, frame: pd.DataFrame) -> None:
    rows = [[_cell_value(value) for value in row] for row in frame.to_numpy(object)]
    _lay_out(sheet, frame, rows)  # before the rows: a write-only sheet is streamed
    # Styled once: openpyxl looks a style up each time one is set.
    header, text = WriteOnlyCell(sheet), WriteOnlyCell(sheet)
    header.font, header.fill, text.number_format = _HEADER_FONT, _HEADER_FILL, "@"
    sheet.append([_text_cell(sheet, header, str(name)) for name in frame.columns])
    for values in rows:
        sheet.append(
            [
                _text_cell(sheet, text, value) if isinstance(value, str) else _cell(sheet, value)
                for value in values
            ]
        )


def _text_cell(sheet: Any, like: Any, value: str) -> Any:
    cell: Any = WriteOnlyCell(sheet)
    # Not through cell.value: openpyxl takes a leading = for a formula.
    cell._style, cell._value, cell.data_type = like._style, value, "s"
    return cell


def _cell(sheet: Any, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    cell: Any = WriteOnlyCell(sheet, value)
    cell._value = repr(value)  # openpyxl would write 16 digits, which may not be enough
    return cell


def _cell_value(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)[:LARGEST_CELL]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value
    if isinstance(value, (bool, int, np.integer)):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _lay_out(sheet: Any, frame: pd.DataFrame, rows: list[list[Any]]) -> None:
    sheet.freeze_panes = "B2"
    narrowest, widest = _WIDTHS
    for index, name in enumerate(frame.columns):
        shown = [len(str(r[index])) for r in rows[:_ROWS_THAT_SET_WIDTHS] if r[index] is not None]
        width = min(max([len(str(name)), narrowest, *shown]), widest) + 2
        sheet.column_dimensions[get_column_letter(index + 1)].width = width
    if len(frame.columns):
        sheet.auto_filter.ref = f"A1:{get_column_letter(len(frame.columns))}{len(frame) + 1}"


def _load(path: Path, *, read_only: bool) -> Workbook:
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such workbook.")
    try:
        return load_workbook(path, read_only=read_only)
    except _DAMAGED as error:
        raise _damaged_error(path, error) from error


def _damaged_error(path: Path, error: Exception) -> ManifestError:
    return ManifestError(f"{path}: not a readable Excel workbook ({error}).")


def _save(workbook: Workbook, path: Path) -> None:
    try:
        write_file(path, workbook.save)
    except PermissionError as error:
        raise ManifestError(f"{path}: cannot be written; is it open in another program?") from error
