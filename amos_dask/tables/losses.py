"""What of a workbook is lost when openpyxl reads and saves it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath

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
