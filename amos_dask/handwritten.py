"""What people write by hand: csv and YAML files, and dates and sexes in them.

A csv comes in any encoding, with any delimiter. YAML is read strictly: text stays text, nothing
stands twice, no aliases.
"""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import yaml

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
_FEMALE = "f female fem woman w weiblich frau femme féminin feminin femenino feminino mujer 女 女性"
_MALE = "m male man mann männlich maennlich homme masculin masculino hombre 男 男性"
_SEXES = dict.fromkeys(_FEMALE.split(), "F") | dict.fromkeys(_MALE.split(), "M")
_TIME = r"(?:[ T]+\d{1,2}:\d\d(?::\d\d(?:\.\d*)?)?(?: ?[AP]M)?(?:Z|[+-]\d\d:?\d\d)?)?"
_FLAGS = re.ASCII | re.IGNORECASE
_COMPACT = re.compile(rf"(\d{{4}})(\d\d)(\d\d)(?:\.0*)?{_TIME}", _FLAGS)
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}", _FLAGS)
_CHINESE = re.compile(rf"(\d{{4}}) ?年 ?(\d{{1,2}}) ?月 ?(\d{{1,2}}) ?日{_TIME}", _FLAGS)
_YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}", _FLAGS)
_LARGEST_YAML = 1 << 20


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


class Order(Enum):
    """Which number of such as ``05/08/1971`` is the day."""

    DAY_FIRST = "day/month/year"
    MONTH_FIRST = "month/day/year"


class Understood(NamedTuple):
    """What the texts of a column mean."""

    forms: dict[str, str]  # text -> the form that is kept of it, where it is understood
    ambiguous: tuple[str, ...]  # dates whose order of day and month the column does not tell
    unknown: tuple[str, ...]


def find_sex(text: str) -> str:
    """Return ``F`` or ``M`` for a word that says so; empty for any other, a code included."""
    word = " ".join(unicodedata.normalize("NFKC", text).split()).casefold()
    return _SEXES.get(word.rstrip("."), "")


def read_sexes(texts: Iterable[str]) -> Understood:
    """Return what a column of sexes says."""
    found = {text: find_sex(text) for text in texts}
    unknown = tuple(text for text, sex in found.items() if not sex)
    return Understood({text: sex for text, sex in found.items() if sex}, (), unknown)


def find_days(text: str) -> dict[Order, str]:
    """Return the day that a text means by each order of day and month; times are left aside.

    Understood are ``19710805`` (also ``19710805.0``), ``1971-08-05``, ``1971/8/5``, ``05.08.1971``
    (day.month.year) and ``05/08/1971`` or ``05-08-1971``, of which the order is not known.

    Returns
    -------
    dict of Order to str
        ``YYYYMMDD``; without an order in which the text is no day of the calendar.
    """
    text = text.strip()
    if match := _COMPACT.fullmatch(text) or _CHINESE.fullmatch(text):
        year, month, day = match.groups()
        readings = dict.fromkeys(Order, (month, day))
    elif match := _YEAR_FIRST.fullmatch(text):
        year = match[1]
        readings = dict.fromkeys(Order, (match[3], match[4]))
    elif match := _YEAR_LAST.fullmatch(text):
        year = match[4]
        readings = dict.fromkeys(Order, (match[3], match[1]))
        if match[2] != ".":
            readings[Order.MONTH_FIRST] = (match[1], match[3])
    else:
        return {}
    days = {}
    for order, (month, day) in readings.items():
        with suppress(ValueError):  # no day of the calendar
            found = datetime.date(int(year), int(month), int(day))
            days[order] = found.isoformat().replace("-", "")
    return days


def read_dates(texts: Iterable[str]) -> Understood:
    """Return what a column of dates says; those in one order only tell the order of the others."""
    found = {text: find_days(text) for text in texts}
    orders = {order for days in found.values() if len(days) == 1 for order in days}
    order = orders.pop() if len(orders) == 1 else None
    clear, ambiguous, unknown = {}, list[str](), list[str]()
    for text, days in found.items():
        meant = {days[order]} if order in days else set(days.values())
        if len(meant) == 1:
            clear[text] = meant.pop()
        else:
            (ambiguous if meant else unknown).append(text)
    return Understood(clear, tuple(ambiguous), tuple(unknown))


class _StrictLoader(yaml.BaseLoader):
    """Makes mappings, lists and text only: YAML's own numbers would read ``010`` as 8."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, which is no alias."""
        if self.check_event(yaml.AliasEvent):  # they make small files huge
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping, of which no key occurs twice."""
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            ((key, _),) = Counter(key.value for key, _ in node.value).most_common(1)
            raise yaml.YAMLError(f"key {key} occurs twice")
        return mapping


class _PlainDumper(yaml.SafeDumper):
    """Writes what the strict reader reads: no text needs quotes for looking like a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (as PyYAML declares it)


def parse_yaml(text: str) -> object:
    """Return the content of a YAML, or JSON, text: mappings, lists and text only.

    Raises `ValueError` when it is none.
    """
    try:
        return _StrictLoader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_yaml(path: Path, what: str, refusal: type[Exception]) -> object:
    """Return the content of a YAML file of at most 1 MiB: mappings, lists and text only.

    Parameters
    ----------
    path, what
        The file, and what it ought to be, for the message.
    refusal : type of exception
        Is raised when it cannot be read; the message is a sentence that names the file.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LARGEST_YAML + 1)
        if len(text) > _LARGEST_YAML:
            raise ValueError("larger than 1 MiB")
        return parse_yaml(text)
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise refusal(f"{path}: not a readable {what} ({reason}).") from error


def dump_yaml(content: object) -> str:
    """Return the text of mappings, lists and text, for `read_yaml`."""
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)
