"""Worksheet `Columns` of our workbooks: what each column is, in the words of the documents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import pandas as pd

COLUMNS_SHEET = "Columns"
_COLUMNS = ("worksheet", "column", "meaning")
_ROW = re.compile(r"^\| (`.+`) \| (.+) \|$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\\\{\w+\\\}")  # as `re.escape` leaves it
_ANY_SPLIT = "split01_any"  # stands for a split of whatever name


@cache
def _read_tables() -> tuple[dict[re.Pattern[str], str], ...]:
    """Return what each table of the documents says: names of columns -> their text."""
    text = files("amos_dask.tables").joinpath("columns.md").read_text(encoding="utf-8")
    tables = []
    for part in text.split("| column |")[1:]:
        told = [(n, m.replace("`", "")) for ns, m in _ROW.findall(part) for n in ns.split(", ")]
        told.sort(key=lambda row: -len(row[0]))  # ``mask_…_existence`` before ``mask_…``
        names = ((_PLACEHOLDER.sub(".+", re.escape(n.strip("`"))), meant) for n, meant in told)
        tables.append({re.compile(name): meant for name, meant in names})
    return tuple(tables)


@cache
def explain_columns(columns: tuple[str, ...]) -> Mapping[str, str]:
    """Return what the columns of a worksheet are: of those that the documents name.

    The table of the documents is the one that tells most of them, and least of others.

    Parameters
    ----------
    columns : tuple of str
        Their names, such as ``ID``, ``mask_01_spleen``.

    Returns
    -------
    mapping of str to str
        Column -> text.
    """

    def find(table: Mapping[re.Pattern[str], str]) -> dict[str, str]:
        matches = ((c, next((p for p in table if p.fullmatch(c)), None)) for c in columns)
        return {column: table[pattern] for column, pattern in matches if pattern is not None}

    found = ((find(table), len(table)) for table in _read_tables())
    return max(found, key=lambda pair: (len(pair[0]), -pair[1]))[0]


def columns_frame(sheets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return worksheet ``Columns``: a row a column, with the first worksheet that has it.

    Parameters
    ----------
    sheets : mapping of str to sequence of str
        Worksheet title -> columns; one called as its worksheet tells the parts of a split.
    """
    rows: dict[str, tuple[str, str, str]] = {}
    for title, columns in sheets.items():
        names = tuple(_ANY_SPLIT if name == title else name for name in columns)
        told = explain_columns(names)
        for name in columns:
            meaning = told.get(_ANY_SPLIT if name == title else name)
            if meaning is not None:
                rows.setdefault(name, (title, name, meaning))
    return pd.DataFrame(list(rows.values()), columns=list(_COLUMNS), dtype=object)
