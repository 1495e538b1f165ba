"""How our worksheets look, and new workbooks of them, of which openpyxl makes all but the rows."""

from __future__ import annotations

import datetime
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape
from zipfile import ZIP64_LIMIT, ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.utils.datetime import to_excel
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.properties import PageSetupProperties

from amos_dask.tables.cells import LARGEST_CELL, LARGEST_SHEET, Cells

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
