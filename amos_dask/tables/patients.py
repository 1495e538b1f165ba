"""Which scans are of one patient, as far as the metadata tell."""

from __future__ import annotations

import datetime
import re
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
    rows = rows.assign(ID=rows["ID"].astype(str)).sort_values("ID", ignore_index=True)
    known = pd.DataFrame(
        {name: [_known(name, value) for value in rows[name]] for name in PATIENT_COLUMNS},
        dtype=object,
    )
    # Each scan takes the first number among those it agrees with, until no number changes any more.
    numbers = pd.Series(rows.index, dtype=float)
    while True:
        before = numbers
        for key in SAME_PATIENT:
            smallest = numbers.groupby([known[name] for name in key]).transform("min")
            numbers = smallest.fillna(numbers)
        if numbers.equals(before):
            break
    patients = rows["ID"].iloc[numbers.astype(int)]
    return dict(zip(rows["ID"], patients, strict=True))


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
