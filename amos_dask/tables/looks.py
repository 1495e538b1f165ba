"""How cells look that hold more than text: numbers as people read them, marks, links to files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from openpyxl.cell.cell import WriteOnlyCell
from openpyxl.styles import Font, PatternFill

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
_LINKED = re.compile(r"info|volume|volume_\d+_.+|mask")
_UNSAFE = re.compile(r"[^A-Za-z0-9_./-]+")
_MOST_LINKS = 65_530  # of a worksheet; Excel removes all of one that has more


class Look(NamedTuple):
    """How the cells of a column look: cells that are like them."""

    text: Any
    number: Any
    marks: Mapping[str, Any]  # of these texts


def number_formats(columns: Sequence[str]) -> list[str | None]:
    """Return how numbers in each column are shown, if not as they are."""
    return [
        next((shown for name, shown in _FORMATS.items() if name.fullmatch(column)), None)
        for column in columns
    ]


def looks_of(sheet: Any, columns: Sequence[str], links: Mapping[int, int]) -> list[Look]:
    """Return how the cells of each column of a worksheet look.

    Parameters
    ----------
    sheet : Worksheet
        Of openpyxl; its workbook gets the styles.
    columns : sequence of str
        Their names.
    links : mapping of int to int
        As of `find_links`.
    """
    looks = []
    for index, (name, form) in enumerate(zip(columns, number_formats(columns), strict=True)):
        number = WriteOnlyCell(sheet)
        number.number_format = form or number.number_format
        text = text_like(sheet)
        if index in links:
            text.font = _LINK_FONT
        marks = {}
        for value, fill in _MARKS.get(name, {}).items():
            marks[value] = text_like(sheet)
            marks[value].fill = fill
        looks.append(Look(text, number, marks))
    return looks


def fills_of_marks(workbook: Any) -> frozenset[int]:
    """Return the numbers that a workbook has for the fills of our marks."""
    return frozenset(workbook._fills.add(f) for marks in _MARKS.values() for f in marks.values())


def text_like(sheet: Any) -> Any:
    """Return a cell that looks as those with text do."""
    cell = WriteOnlyCell(sheet)
    cell.number_format = "@"
    return cell


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


def link_targets(row: Sequence[Any], links: Mapping[int, int]) -> Iterator[tuple[int, str]]:
    """Yield the places of a row's cells that lead somewhere, and the paths where they lead."""
    for index, of in links.items():
        path = row[of]
        if isinstance(path, str) and row[index] is not None:
            yield index, path if index == of else path.rpartition("/")[0]


def link_to(path: str, prefix: str) -> str:
    """Return a link to a path, relative to the workbook; nothing in it is a scheme, or XML."""
    # As `quote` of it all, in a quarter of the time.
    return _UNSAFE.sub(lambda found: quote(found[0]), f"{prefix}{path}")


def is_link_to(target: str | None, path: str) -> bool:
    """Return whether a link, whichever program saved it, leads to a path below any folder."""
    told = PurePosixPath(unquote(target or "").replace("\\", "/")).parts
    wanted = PurePosixPath(path).parts
    return bool(wanted) and told[-len(wanted) :] == wanted
