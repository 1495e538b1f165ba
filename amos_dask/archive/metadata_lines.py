"""The lines of a metadata file, as text: a csv or tsv of any encoding, or the first worksheet."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Iterator
from typing import Any

from amos_dask.archive.sources import read_bytes
from amos_dask.csv_text import decode, split_rows
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef
from amos_dask.issues import Issue, make_issue

_LARGEST_FILE = 16 << 20
# Of a worksheet, unpacked.
_LARGEST_UNPACKED = 256 << 20
_UNREADABLE = (zipfile.BadZipFile, ValueError, KeyError, IndexError, OSError, SyntaxError)


def read_lines(ref: FileRef, encoding: str | None) -> tuple[Iterator[list[str]], list[Issue]]:
    """Return the lines of a metadata file, the header first, as texts.

    Parameters
    ----------
    ref : FileRef
        A csv, tsv or xlsx file of at most 16 MiB.
    encoding : str or None
        Of a csv; None where it is to be recognised, which is then said.

    Raises
    ------
    ArchiveError
        When it cannot be read.
    """
    try:
        content = read_bytes(ref, _LARGEST_FILE)
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise ArchiveError(f"{ref.path}: {error}.") from error
    if ref.path.lower().endswith(".xlsx"):
        return iter(_read_worksheet(content, ref.path)), []
    try:
        decoded = decode(content, encoding)
    except ValueError as error:
        raise ArchiveError(
            f"{ref.path}: {error}; name the right one with --metadata_encoding, such as gb18030."
        ) from error
    issues = []
    if decoded.recognised:
        message = f"read as {decoded.recognised}, as in {decoded.word!r}"
        action = "if that is wrong, name the encoding with --metadata_encoding"
        issues.append(make_issue("metadata_encoding", message, file=ref.path, action=action))
    return iter(split_rows(decoded.text)), issues


def _read_worksheet(content: bytes, path: str) -> list[list[str]]:
    import openpyxl  # takes as long as all else

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(member.file_size for member in packed.infolist()) > _LARGEST_UNPACKED:
                raise ValueError(f"larger than {_LARGEST_UNPACKED >> 20} MiB unpacked")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        lines = book.worksheets[0].iter_rows(values_only=True)
        return [[_text(cell) for cell in line] for line in lines]
    except _UNREADABLE as error:
        raise ArchiveError(f"{path}: not a readable workbook ({error}).") from error


def _text(cell: Any) -> str:
    """Return what a cell shows: whole numbers without a point, days without hours."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        return cell.strftime("%Y%m%d")
    return str(cell)
