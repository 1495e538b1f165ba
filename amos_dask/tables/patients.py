"""Which scans are of one patient, as far as the metadata tell."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import pandas as pd

from amos_dask.records import UNDEFINED

# Scans that agree in all columns of one of these are of one patient.
SAME_PATIENT = (
    ("birth_date", "sex", "site"),
    ("birth_date", "sex", "acquisition_date"),
)
PATIENT_COLUMNS = ("birth_date", "sex", "site", "acquisition_date")

_DATES = frozenset({"birth_date", "acquisition_date"})
_DATE = re.compile(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})")
# Programs that need a date where none is known write 1 January 1900, or an earlier one.
_LAST_DUMMY_DATE = datetime.date(1900, 1, 1)


def find_patients(rows: pd.DataFrame) -> dict[str, str]:
    """Return ID -> patient, named by the first of the patient's IDs.

    Two scans are of one patient when birth date, sex and site are known and the same; or, wherever
    they were made, when birth date, sex and acquisition date are. So are two scans that are both
    of one patient with a third. What is not known is the same as nothing: a scan without birth
    date or sex is a patient of its own.

    Parameters
    ----------
    rows : DataFrame
        Columns ``ID`` and `PATIENT_COLUMNS`; each ID once.
    """
    columns = {name: [_known(name, value) for value in rows[name]] for name in PATIENT_COLUMNS}
    ids = [str(sample_id) for sample_id in rows["ID"]]
    groups = UnionFind(ids)
    for key in SAME_PATIENT:
        first: dict[tuple[str | None, ...], str] = {}
        for sample_id, *cells in zip(ids, *(columns[name] for name in key), strict=True):
            values = tuple(cells)
            if None not in values:
                groups.join(first.setdefault(values, sample_id), sample_id)
    return groups.names()


class UnionFind:
    """Sets of names that are joined two by two.

    Parameters
    ----------
    names : iterable of str
        Each is a set of its own at first.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def join(self, one: str, other: str) -> None:
        """Make one set of the sets that two names are in; its name is the smaller of theirs."""
        first, second = sorted((self._top(one), self._top(other)))
        self._parent[second] = first

    def names(self) -> dict[str, str]:
        """Return name -> the smallest name in its set."""
        return {name: self._top(name) for name in self._parent}

    def _top(self, name: str) -> str:
        *passed, top = self._way_up(name)
        self._parent.update(dict.fromkeys(passed, top))
        return top

    def _way_up(self, name: str) -> Iterator[str]:
        while self._parent[name] != name:
            yield name
            name = self._parent[name]
        yield name


def _known(column: str, value: Any) -> str | None:
    """Return a cell in one form for all that mean the same; None where nothing is known."""
    if column in _DATES:
        return _date(value)
    text = "" if pd.isna(value) else " ".join(str(value).split()).casefold()
    return None if text in ("", UNDEFINED.casefold()) else text


def _date(value: Any) -> str | None:
    """Return a day of the calendar as ``YYYYMMDD``; spreadsheets make dates and numbers of it."""
    if pd.isna(value):
        return None
    if isinstance(value, Real) and float(value).is_integer():
        value = int(float(value))
    text = f"{value:%Y%m%d}" if isinstance(value, datetime.date) else str(value).strip()
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        day = datetime.date(*map(int, match.groups()))
    except ValueError:
        return None
    return None if day <= _LAST_DUMMY_DATE else f"{day:%Y%m%d}"
