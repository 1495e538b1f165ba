"""csv files that people write: in which encoding, with which delimiter."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_DELIMITERS = ",;\t"
# GB18030 has one as well, which is not among Python's.
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    ("\ufeff".encode("gb18030"), "gb18030"),
)
# Of those that fit a csv's cells equally well the first is taken: AMOS22 is from China.
_PLAUSIBLE = (
    *("gb18030", "cp1252", "big5", "cp932", "euc_jp", "cp949"),
    *("cp1250", "cp1251", "koi8_r", "cp1253", "cp1254"),
)
# What separates cells, and is no byte of another character in any of the encodings.
_BETWEEN_CELLS = re.compile(rb"[\x00-\x1f,;\"]+")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_LETTERS = re.compile(r"[^\W\d_]+")
_ENOUGH_BYTES, _MOST_BYTES, _LONGEST_WORD = 400, 1 << 16, 40


class Decoded(NamedTuple):
    """The text of a csv file, without byte order mark.

    Where its encoding was recognised by what it makes of the words, which may be others: the
    encoding, and one of these words.
    """

    text: str
    recognised: str = ""
    word: str = ""


def decode(content: bytes, encoding: str | None = None) -> Decoded:
    """Return the text of a csv file that people have made, in the encoding that they name.

    Without one, UTF-8 and UTF-16, with or without byte order mark, are told for certain; another is
    recognised by the words beyond ASCII. Raises `ValueError`, which says why, where that fails.
    """
    if encoding is None:
        encoding = next((name for bom, name in BOMS if content.startswith(bom)), None)
    if encoding is not None:
        try:
            return Decoded(content.decode(encoding).removeprefix("\ufeff"))
        except LookupError as error:
            raise ValueError(f"{encoding!r} is no encoding that Python knows") from error
        except UnicodeError as error:
            raise ValueError(f"not a text in {encoding}") from error
    with suppress(UnicodeDecodeError):
        if text := _as_utf_16(content):
            return Decoded(text)
    with suppress(UnicodeDecodeError):
        return Decoded(content.decode("utf-8"))
    for candidate in _recognise(content):
        with suppress(UnicodeDecodeError):
            text = content.decode(candidate)
            return Decoded(text, candidate, _first_word(text))
    raise ValueError("its encoding is not recognised")


def read_text(path: Path) -> str:
    r"""Return the text of a file as `decode` does, with ``\n`` at the ends of its lines.

    Raises `OSError` or `ValueError` when it cannot be read, or not be decoded.
    """
    return io.StringIO(decode(path.read_bytes()).text, newline=None).read()


def _first_word(text: str) -> str:
    """Return the first word with a letter beyond ASCII, or what else is beyond it."""
    match = _BEYOND_ASCII.search(text)
    if match is None:
        return ""
    near = text[max(0, match.start() - _LONGEST_WORD) : match.start() + _LONGEST_WORD]
    return next((word for word in _LETTERS.findall(near) if not word.isascii()), match[0])


def _as_utf_16(content: bytes) -> str:
    """Return the text of UTF-16 without byte order mark; empty where it is none."""
    if b"\0" not in content:
        return ""
    # Delimiters and digits have a zero byte: behind the other, or before it.
    is_big = content[::2].count(0) > content[1::2].count(0)
    text = content.decode("utf-16-be" if is_big else "utf-16-le")
    return text if "\0" not in text and any(map(text.count, _DELIMITERS)) else ""


def _recognise(content: bytes) -> Iterator[str]:
    """Yield the encodings that make sense of the cells beyond ASCII, the likeliest first."""
    from charset_normalizer import from_bytes  # hardly any csv needs it

    found = dict.fromkeys(_BETWEEN_CELLS.split(content))
    cells = b" ".join(cell for cell in found if not cell.isascii())[:_MOST_BYTES]
    n_times = _ENOUGH_BYTES // max(1, len(cells)) + 1
    for sample in (b" ".join([cells] * n_times), cells):
        matches = from_bytes(sample, cp_isolation=list(_PLAUSIBLE), enable_fallback=False)
        scores = {
            (round(match.chaos, 2), _PLAUSIBLE.index(encoding))
            for match in matches
            for encoding in match.could_be_from_charset
            if encoding in _PLAUSIBLE
        }
        yield from (_PLAUSIBLE[index] for _, index in sorted(scores))


def split_rows(text: str) -> list[list[str]]:
    """Return the rows of a csv file, the header first; `csv.Error` where it is none."""
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=find_delimiter(text)))
    return rows[1:] if rows and is_about_delimiter(rows[0]) else rows


def find_delimiter(text: str) -> str:
    r"""Return what separates a csv file's cells: ``,``, ``;`` or ``\t``, as its header tells.

    Lines that begin with ``#`` are left aside.
    """
    lines = (line for line in io.StringIO(text) if line.strip() and not line.startswith("#"))
    header = next(lines, "")

    def count(delimiter: str) -> int:
        """Return how many cells a delimiter makes of the header."""
        try:
            return len(next(csv.reader([header], delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=count)


def is_about_delimiter(row: list[str]) -> bool:
    """Return whether a row is such as ``sep=;``, which Excel reads and some programs write."""
    return bool(row) and row[0].strip().lower() == "sep="
