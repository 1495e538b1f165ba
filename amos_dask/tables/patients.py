"""Which scans are of one patient, as far as the metadata tell."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd

from amos_dask.metadata_forms import Order, find_days, find_sex, read_dates
from amos_dask.records import UNDEFINED

# Scans that agree in all columns of one of these are of one patient.
SAME_PATIENT = (
    ("birth_date", "sex", "site"),
    ("birth_date", "sex", "acquisition_date"),
)
PATIENT_COLUMNS = ("birth_date", "sex", "site", "acquisition_date")

_DATES = frozenset({"birth_date", "acquisition_date"})
# Programs that need a date where none is known write 1 January 1900, or an earlier one.
_LAST_DUMMY_DATE = "19000101"


def find_patients(rows: pd.DataFrame) -> dict[str, str]:
    """Return ID -> patient, named by the first of the patient's IDs.

    Two scans are of one patient when birth date, sex and site are known and the same; or, wherever
    they were made, when birth date, sex and acquisition date are. So are two scans that are both
    of one patient with a third. What is not known is the same as nothing: a scan without birth
    date or sex is a patient of its own. Where no row tells the order of day and month, scans that
    agree in either order are of one patient: rather too much stays together than too little.

    Parameters
    ----------
    rows : DataFrame
        Columns ``ID`` and `PATIENT_COLUMNS`; each ID once.
    """
    rows = rows.assign(ID=rows["ID"].astype(str)).sort_values("ID", ignore_index=True)
    readings = list(_readings(rows))
    # Each scan takes the first number among those it agrees with, until no number changes any more.
    numbers = pd.Series(rows.index, dtype=float)
    while True:
        before = numbers
        for known, key in product(readings, SAME_PATIENT):
            smallest = numbers.groupby([known[name] for name in key]).transform("min")
            numbers = smallest.fillna(numbers)
        if numbers.equals(before):
            break
    patients = rows["ID"].iloc[numbers.astype(int)]
    return dict(zip(rows["ID"], patients, strict=True))


def _readings(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield what the rows say by each order of day and month that is possible."""
    texts = {name: [_text(value) for value in rows[name]] for name in PATIENT_COLUMNS}
    columns = {name: read_dates(filter(None, texts[name])) for name in _DATES}
    is_clear = not any(column.ambiguous for column in columns.values())
    for order in list(Order)[: 1 if is_clear else None]:
        known = dict(texts)
        known["sex"] = [find_sex(text) or text for text in texts["sex"]]
        for name, column in columns.items():
            days = column.forms | {text: find_days(text)[order] for text in column.ambiguous}
            known[name] = [days.get(text, "") for text in texts[name]]
            known[name] = [day if day > _LAST_DUMMY_DATE else "" for day in known[name]]
        frame = pd.DataFrame(known, index=rows.index, dtype=object)
        yield frame.where(frame != "", None)


def _text(value: Any) -> str:
    """Return a cell in one form for all that mean the same; empty where nothing is known.

    Spreadsheets make dates and numbers of texts.
    """
    if pd.isna(value):
        return ""
    if isinstance(value, datetime.date):
        return value.isoformat()[:10]
    text = " ".join(str(value).split()).casefold()
    return "" if text == UNDEFINED.casefold() else text
