"""New workbooks: openpyxl makes all of one but its rows, which are XML of our own."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape
from zipfile import ZIP64_LIMIT, ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import to_excel

from amos_dask.root.staging import temporary_name
from amos_dask.root.table_state import OwnFile, OwnSheet
from amos_dask.tables.cells import LARGEST_CELL, Cells, LaidOut, Look, describe, lay_out, unpacked

_AT_ONCE = 1000  # rows
_TAGS = 120  # bytes of XML around what a cell holds, at most
_BYTES_A_CHARACTER = 5  # at most, as UTF-8 or as ``&amp;``
_DAY = datetime.datetime(2000, 1, 1)

_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_EXTERNAL = f'Type="{_RELATIONS}/hyperlink" TargetMode="External"'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


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
        made = lay_out(workbook, sheets)
        styles = [_find_styles(laid) for laid in made]
        workbook.save(packed)
    except BaseException:  # Ctrl-C as well
        # Left to the garbage collector, half-written worksheets complain on stderr.
        for sheet in workbook.worksheets:
            with suppress(Exception):
                sheet.close()
        raise
    parts = zip(made, styles, strict=True)
    by_name = {laid.sheet.path.lstrip("/"): (laid, columns) for laid, columns in parts}
    with ZipFile(packed) as without_rows, ZipFile(path, "w", ZIP_DEFLATED) as book:
        for name in without_rows.namelist():
            content = without_rows.read(name)
            if name in by_name:
                _write_sheet(book, name, content, *by_name[name])
            else:
                _write_part(book, name, [content])


def _write_sheet(
    book: ZipFile, name: str, content: bytes, laid: LaidOut, columns: Sequence[_Styles]
) -> None:
    before, end, after = content.partition(b"</sheetData>")
    links, targets = _links(laid)
    rows = (some.encode() for some in _rows(laid.table, columns))
    # The format has an order: links come before what is said of printed pages.
    after = end + after.replace(b"<pageMargins", links + b"<pageMargins", 1)
    _write_part(book, name, chain([before], rows, [after]), is_long=_may_be_long(laid.table))
    if links:
        _write_part(book, f"{name.replace('/sheet', '/_rels/sheet')}.rels", [targets])


def _write_part(
    book: ZipFile, name: str, content: Iterable[bytes], *, is_long: bool = False
) -> None:
    with book.open(name, "w", force_zip64=is_long) as file:
        file.writelines(content)


class _Styles(NamedTuple):
    """Of a column: the XML between a cell's place and what it holds, by what that is."""

    letter: str
    text: str
    number: str
    marks: Mapping[str, str]  # of these texts
    times: Mapping[type, str]


def _find_styles(laid: LaidOut) -> list[_Styles]:
    days: tuple[Any, ...] = (_DAY, _DAY.date(), _DAY.time())
    times = {type(day): _number(WriteOnlyCell(laid.sheet, day)) for day in days}

    def styles(place: int, look: Look) -> _Styles:
        marks = {value: _text(cell) for value, cell in look.marks.items()}
        return _Styles(
            get_column_letter(place), _text(look.text), _number(look.number), marks, times
        )

    return [styles(place, look) for place, look in enumerate(laid.looks, start=1)]


def _text(like: Any) -> str:
    return f'" s="{like.style_id}" t="inlineStr"><is><t xml:space="preserve">'


def _number(like: Any) -> str:
    return f'" s="{like.style_id}"><v>' if like.has_style else '"><v>'


def _may_be_long(table: Cells) -> bool:
    """Return whether the XML may be more than a zip entry holds without zip64."""
    n_cells = len(table.rows) * len(table.columns)
    if n_cells * (_TAGS + _BYTES_A_CHARACTER * LARGEST_CELL) < ZIP64_LIMIT:
        return False
    n_characters = sum(len(v) for row in table.rows for v in row if isinstance(v, str))
    return n_cells * _TAGS + n_characters * _BYTES_A_CHARACTER > ZIP64_LIMIT


def _rows(table: Cells, columns: Sequence[_Styles]) -> Iterator[str]:
    """Yield the XML of many rows at once, from the second on."""
    for start in range(0, len(table.rows), _AT_ONCE):
        rows = []
        for number, values in enumerate(table.rows[start : start + _AT_ONCE], start + 2):
            cells = (
                _cell(styles, number, value)
                for styles, value in zip(columns, values, strict=True)
                if value is not None
            )
            rows.append(f'<row r="{number}">{"".join(cells)}</row>')
        yield "".join(rows)


def _cell(styles: _Styles, row: int, value: Any) -> str:
    letter, text, number, marks, times = styles
    if isinstance(value, str):
        like = marks.get(value, text) if marks else text
        return f'<c r="{letter}{row}{like}{escape(value)}</t></is></c>'
    if isinstance(value, (int, float)):
        return f'<c r="{letter}{row}{number}{value!r}</v></c>'
    # A datetime is a date too, and stands before it.
    like = next(like for kind, like in times.items() if isinstance(value, kind))
    days = to_excel(value)  # type: ignore[no-untyped-call]
    return f'<c r="{letter}{row}{like}{days!r}</v></c>'


def _links(laid: LaidOut) -> tuple[bytes, bytes]:
    """Return the XML of a worksheet's links, and the part that says where they lead."""
    cells, targets = list[str](), list[str]()
    for row, column, target in laid.links:
        key = f'"rId{len(cells)}"'
        cells.append(f'<hyperlink ref="{get_column_letter(column)}{row}" r:id={key}/>')
        targets.append(f'<Relationship Id={key} {_EXTERNAL} Target="{target}"/>')
    if not cells:
        return b"", b""
    return (
        f'<hyperlinks xmlns:r="{_RELATIONS}">{"".join(cells)}</hyperlinks>'.encode(),
        f'<Relationships xmlns="{_PACKAGE}">{"".join(targets)}</Relationships>'.encode(),
    )


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


def put_new(path: Path, sheets: Mapping[str, Cells], drafted: Drafted | None) -> None:
    """Give a path what a worker has written, or write it."""
    if drafted is not None and drafted.path is not None:
        with suppress(OSError):  # its place is on another disk, or it cannot be seen from here
            drafted.path.replace(path)
            return
    save_workbook(path, sheets)


def write_draft(draft: Draft) -> Drafted:
    """Describe a workbook, and write it unless the one that is there holds the same."""
    sheets = unpacked(draft.sheets)
    described = describe(sheets)
    if draft.known is not None and described == draft.known.sheets:
        return Drafted(described, None)
    path = draft.folder / temporary_name(Path(draft.name).name)
    save_workbook(path, sheets)
    return Drafted(described, path)
