"""Dates and sexes as people write them, and the one form that is kept of each."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

_FEMALE = "f female fem woman w weiblich frau femme féminin feminin femenino feminino mujer 女 女性"
_MALE = "m male man mann männlich maennlich homme masculin masculino hombre 男 男性"
_SEXES = dict.fromkeys(_FEMALE.split(), "F") | dict.fromkeys(_MALE.split(), "M")

_TIME = r"(?:[ T]+\d{1,2}:\d\d(?::\d\d(?:\.\d*)?)?(?: ?[AP]M)?(?:Z|[+-]\d\d:?\d\d)?)?"
_FLAGS = re.ASCII | re.IGNORECASE
_COMPACT = re.compile(rf"(\d{{4}})(\d\d)(\d\d)(?:\.0*)?{_TIME}", _FLAGS)
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}", _FLAGS)
_CHINESE = re.compile(rf"(\d{{4}}) ?年 ?(\d{{1,2}}) ?月 ?(\d{{1,2}}) ?日{_TIME}", _FLAGS)
_YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}", _FLAGS)


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
