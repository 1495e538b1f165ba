"""Our worksheets written anew in a workbook that people have put something into."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from openpyxl import Workbook
from openpyxl.formula.translate import Translator, TranslatorError
from openpyxl.styles.cell_style import StyleArray
from openpyxl.utils import get_column_letter

from amos_dask.tables.cells import Cells, cell_text
from amos_dask.tables.new_workbook import fills_of_marks, find_links, is_link_to, link_targets
from amos_dask.tables.workbook import add_table, find_further, fits_one, remove_further

# Number formats of cells that have none, and of text.
_GENERAL, _TEXT = 0, 49
# What else makes up a cell's look; each of them is of ours or of others.
_ASPECTS = (
    *("fontId", "fillId", "borderId", "alignmentId", "protectionId"),
    *("quotePrefix", "pivotButton", "xfId"),
)
# Columns that tell rows apart, where no value in them occurs twice.
_KEYS = ("file_path", "ID", "name", "column")


def restore_titles(workbook: Workbook, titles: Iterable[str]) -> None:
    """Give worksheets the titles that we gave them; to Excel case is nothing."""
    for title in titles:
        for sheet in workbook.worksheets:
            if sheet.title != title and sheet.title.casefold() == title.casefold():
                sheet.title = f"{title[:20]} renamed"  # else openpyxl would number it
                sheet.title = title


def write_into(
    workbook: Workbook, sheets: Mapping[str, Cells], ours: Mapping[str, Collection[str]]
) -> bool:
    """Write tables into a workbook in place of our worksheets; all other worksheets stay.

    Columns of others in ours stay, right of ours, each cell in the row of its sample.

    Parameters
    ----------
    workbook : Workbook
        As openpyxl has read it.
    sheets : mapping of str to Cells
        Worksheet title -> table.
    ours : mapping of str to collection of str
        Worksheet title -> columns that we wrote there before.

    Returns
    -------
    bool
        Whether everything of others is in the workbook still.
    """
    is_whole = True
    for title, table in sheets.items():
        if title in workbook.sheetnames:
            columns = {*ours.get(title, ()), *table.columns}
            is_whole &= _write_one(workbook, title, table, columns)
        else:
            add_table(workbook, title, table)
    _keep_digits(workbook)
    return is_whole


def _write_one(workbook: Workbook, title: str, table: Cells, ours: Collection[str]) -> bool:
    sheet = workbook[title]
    old = _Old(sheet, ours)
    if find_further(workbook, title) or not fits_one(table):
        _replace(workbook, title, table)
        return not old.theirs
    n_sheets = len(workbook.sheetnames)
    add_table(workbook, f"{title[:20]} anew", table)
    new = workbook.worksheets[n_sheets]
    moves = _Moves.find(old, table)
    is_whole = _rewrite(sheet, new, old, moves)
    del workbook[new.title]
    stays = moves.keeps_rows and not moves.is_shifted
    return is_whole and (stays or not _is_pointed_to(workbook, sheet))


def _replace(workbook: Workbook, title: str, table: Cells) -> None:
    """Write a table that needs several worksheets, or needed them, where it was."""
    place = workbook.sheetnames.index(title)
    remove_further(workbook, title)
    del workbook[title]
    n_others = len(workbook.sheetnames)
    add_table(workbook, title, table)
    for name in workbook.sheetnames[n_others:]:
        workbook.move_sheet(name, place - n_others)


def _find_keys(table: Cells) -> tuple[str, list[str]] | None:
    """Return the column that tells rows apart, and its cells; None where there is none."""
    for name in _KEYS:
        if name in table.columns:
            values = [row[table.columns.index(name)] for row in table.rows]
            if None not in values and len(set(values)) == len(values):
                return name, [cell_text(value) for value in values]
    return None


def _keep_digits(workbook: Workbook) -> None:
    """Have all digits of numbers written; openpyxl would write 16, which may not be enough."""
    for sheet in workbook.worksheets:
        cells: Iterable[Any] = (cell for row in sheet.iter_rows() for cell in row)
        for cell in cells:
            if isinstance(cell.value, float):
                cell._value = repr(cell.value)


class _Old:
    """A worksheet as people have left it; rows and columns count from 1.

    Parameters
    ----------
    sheet : Worksheet
        Its cells.
    ours : collection of str
        Names of the columns that we wrote; a second column of a name is somebody else's.
    """

    def __init__(self, sheet: Any, ours: Collection[str]) -> None:
        self.is_merged = bool(sheet.merged_cells.ranges)
        for cells in list(sheet.merged_cells.ranges):
            sheet.unmerge_cells(str(cells))
        self.places: dict[str, int] = {}
        for cell in sheet[1]:
            if cell.value is not None and str(cell.value) in ours:
                self.places.setdefault(str(cell.value), cell.column)
        self.columns = frozenset(self.places.values())
        self.marks = fills_of_marks(sheet.parent)  # that we give cells
        self._remove_links(sheet)
        found = [cell for row in sheet.iter_rows() for cell in row]
        self.styles = [cell for cell in found if cell.column in self.columns and cell.has_style]
        self.theirs = [
            cell
            for cell in found
            if cell.comment
            or cell.hyperlink
            or (cell.column not in self.columns and (cell.value is not None or cell.has_style))
        ]
        self.has_formula = any(
            cell.data_type == "f" for cell in self.theirs if cell.column not in self.columns
        )
        self._keys = {
            name: [cell_text(row[place - 1].value) for row in sheet.iter_rows(min_row=2)]
            for name, place in self.places.items()
            if name in _KEYS
        }

    def _remove_links(self, sheet: Any) -> None:
        """Remove the links that we made, wherever the folder is by now; others are people's."""
        links, places = find_links(list(self.places)), list(self.places.values())
        rows = list(sheet.iter_rows(min_row=2)) if links else []
        values = ([cells[place - 1].value for place in places] for cells in rows)
        for number, index, path in link_targets(values, links):
            cell = rows[number - 2][places[index] - 1]
            if cell.hyperlink is not None and is_link_to(cell.hyperlink.target, path):
                cell.hyperlink = None

    def rows_by(self, key: str) -> dict[str, int]:
        """Return what is in a column of ours -> its first row."""
        rows = list(enumerate(self._keys.get(key, ()), start=2))
        return {text: row for row, text in reversed(rows)}


@dataclass(frozen=True)
class _Moves:
    """Where cells of an older worksheet go in the new one."""

    rows: Mapping[int, int]  # place there -> place in the new one
    columns: Mapping[int, int]
    keeps_rows: bool  # all rows are there still, at their places
    is_shifted: bool  # columns are at other places: formulas and ranges may point to others

    @classmethod
    def find(cls, old: _Old, table: Cells) -> _Moves:
        """Return where what is in a worksheet goes when a table is written there."""
        rows, columns = {1: 1}, {name: place for place, name in enumerate(table.columns, start=1)}
        found, keeps_rows = _find_keys(table), False
        if found is not None:
            key, texts = found
            before = old.rows_by(key)
            after = {text: row for row, text in enumerate(texts, start=2)}
            rows |= {before[text]: row for text, row in after.items() if text in before}
            keeps_rows = before.items() <= after.items()
        others = sorted({cell.column for cell in old.theirs} - old.columns)
        n_old, n_new = len(old.places), len(columns)
        if old.columns == set(range(1, n_old + 1)):  # theirs are right of ours
            moved = {place: place - n_old + n_new for place in others}
        else:
            moved = {place: n_new + number for number, place in enumerate(others, start=1)}
        stay = {place: columns[name] for name, place in old.places.items() if name in columns}
        is_shifted = columns != old.places
        return cls(rows, stay | moved, keeps_rows, is_shifted)

    def find_place(self, cell: Any) -> tuple[int, int] | None:
        """Return row and column of a cell in the new worksheet; None where it has no place."""
        row, column = self.rows.get(cell.row), self.columns.get(cell.column)
        return None if row is None or column is None else (row, column)


def _rewrite(sheet: Any, new: Any, old: _Old, moves: _Moves) -> bool:
    """Give a worksheet the cells of a new one, and those of others; return whether it has all."""
    styles = {moves.find_place(cell): copy(cell._style) for cell in old.styles}
    of_ours = [_aspects_of(rows) for rows in (new.iter_rows(max_row=1), new.iter_rows(min_row=2))]
    is_whole = not (old.is_merged or _loses_colours(old, moves, of_ours))
    is_whole &= moves.keeps_rows or not _has_ranges_of_rows(sheet)
    heights = _take_heights(sheet, moves)
    widths = {
        place: sheet.column_dimensions[get_column_letter(place)].width for place in moves.columns
    }
    sheet.delete_rows(1, sheet.max_row)
    for row in new.iter_rows():
        for cell in row:
            ours = sheet.cell(cell.row, cell.column)
            style = styles.get((cell.row, cell.column))
            ours._value, ours.data_type = cell._value, cell.data_type
            ours._style = _dress(cell, style, of_ours[cell.row > 1])
            if cell.hyperlink is not None:
                ours.hyperlink = cell.hyperlink.target
    for row, height in heights.items():
        sheet.row_dimensions[row].height = height
    for cell in old.theirs:
        place = moves.find_place(cell)
        is_whole &= _put(cell, sheet, place, is_ours=cell.column in old.columns)
    if moves.is_shifted:
        is_whole &= not (old.has_formula or _has_ranges(sheet))
        for name in list(sheet.tables):
            del sheet.tables[name]
        _set_widths(sheet, new, moves, widths)
    if not moves.keeps_rows:
        sheet.auto_filter.filterColumn = []
        for dimension in sheet.row_dimensions.values():
            dimension.hidden = False  # by a filter of other rows
    if sheet.auto_filter.ref:
        sheet.auto_filter.ref = f"A1:{get_column_letter(sheet.max_column)}{sheet.max_row}"
    return is_whole


def _loses_colours(old: _Old, moves: _Moves, of_ours: Sequence[Mapping[str, set[int]]]) -> bool:
    """Return whether a cell with a colour of others has no place in the new worksheet."""
    ours = set[int]().union(*(aspects["fillId"] for aspects in of_ours), old.marks)
    return any(
        cell._style.fillId not in ours and moves.find_place(cell) is None for cell in old.styles
    )


def _has_ranges_of_rows(sheet: Any) -> bool:
    """Return whether a rule or list on a worksheet is for some of its rows, and not for all."""
    rules = [*sheet.conditional_formatting, *sheet.data_validations.dataValidation]
    ranges = [cells for rule in rules for cells in rule.sqref.ranges]
    return any(cells.min_row > 2 or cells.max_row < sheet.max_row for cells in ranges)


def _take_heights(sheet: Any, moves: _Moves) -> dict[int, float]:
    """Take the heights that rows have; return those of the new worksheet's."""
    heights = {}
    for row, dimension in sheet.row_dimensions.items():
        if dimension.height is not None and row in moves.rows:
            heights[moves.rows[row]] = dimension.height
        dimension.height = None
    return heights


def _aspects_of(rows: Iterable[Iterable[Any]]) -> dict[str, set[int]]:
    """Return what our cells look like, aspect by aspect, those that nobody styled included."""
    styles = {tuple(cell._style): cell._style for row in rows for cell in row if cell.has_style}
    found = {aspect: {_GENERAL} for aspect in (*_ASPECTS, "numFmtId")}
    found["numFmtId"].add(_TEXT)
    for style in styles.values():
        for aspect, values in found.items():
            values.add(getattr(style, aspect))
    return found


def _dress(cell: Any, before: Any, of_ours: Mapping[str, Collection[int]]) -> Any:
    """Return a new cell's style with whatever of an older one's is not ours.

    Formats of numbers stay where there is a number still.
    """
    style = StyleArray() if cell._style is None else copy(cell._style)
    if before is None or before == style:
        return style
    for aspect in (*_ASPECTS, "numFmtId") if cell.data_type == "n" else _ASPECTS:
        if (value := getattr(before, aspect)) not in of_ours[aspect]:
            setattr(style, aspect, value)
    return style


def _put(cell: Any, sheet: Any, place: tuple[int, int] | None, *, is_ours: bool) -> bool:
    """Put what others have in a cell, or attached to one of ours, to its new place."""
    if place is None:
        return not (cell.comment or cell.hyperlink or (cell.value is not None and not is_ours))
    target, is_whole = sheet.cell(*place), True
    if not is_ours:
        value, is_whole = _carry_value(cell, place)
        target._style, target._value, target.data_type = copy(cell._style), value, cell.data_type
    if cell.comment:
        target.comment = copy(cell.comment)
    if cell.hyperlink:
        target.hyperlink = copy(cell.hyperlink)
    return is_whole


def _carry_value(cell: Any, place: tuple[int, int]) -> tuple[Any, bool]:
    """Return a cell's value as it is at another place, and whether it says the same there."""
    if cell.data_type != "f" or place == (cell.row, cell.column):
        return cell.value, True
    if not isinstance(cell.value, str):  # an array formula, a data table
        return None, False
    try:
        rows = place[0] - cell.row
        return Translator(cell.value, cell.coordinate).translate_formula(row_delta=rows), True
    except TranslatorError:
        return cell.value, False


def _has_ranges(sheet: Any) -> bool:
    """Return whether anything on a worksheet speaks of ranges of its cells."""
    validations = sheet.data_validations.dataValidation
    return bool(len(sheet.conditional_formatting) or validations or sheet.tables)


def _is_pointed_to(workbook: Workbook, sheet: Any) -> bool:
    """Return whether a formula or name elsewhere speaks of cells of a worksheet by their places."""
    place = re.compile(rf"{re.escape(sheet.title)}'?!", re.IGNORECASE)
    cells = (
        cell.value if isinstance(cell.value, str) else getattr(cell.value, "text", "")
        for other in workbook.worksheets
        if other is not sheet
        for row in other.iter_rows()
        for cell in row
        if cell.data_type == "f"
    )
    names = (name.attr_text for name in workbook.defined_names.values() if not name.hidden)
    return any(place.search(text or "") for text in (*cells, *names))


def _set_widths(sheet: Any, new: Any, moves: _Moves, widths: Mapping[int, float]) -> None:
    wide = {moves.columns[place]: width for place, width in widths.items()}
    for place in range(1, new.max_column + 1):
        wide[place] = new.column_dimensions[get_column_letter(place)].width
    for place, width in wide.items():
        sheet.column_dimensions[get_column_letter(place)].width = width
