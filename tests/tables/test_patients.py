"""Patients: who agrees in what is known is one, and nothing unknown makes anyone anybody."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.tables.assignments import PATIENT_COLUMNS, find_patients

many = settings(max_examples=40, deadline=None, derandomize=True, database=None)
UNKNOWN = [None, "UND", "und", "", "  ", float("nan"), pd.NA, pd.NaT]

Row = tuple[Any, Any, Any, Any]
ANNA: Row = ("19610412", "F", "center", "20190115")


def patients(*rows: Row) -> list[str]:
    """Return the last digit of each row's patient."""
    frame = pd.DataFrame(list(rows), columns=list(PATIENT_COLUMNS), dtype=object)
    frame["ID"] = [f"amos_{n:04d}" for n in range(len(rows))]
    found = find_patients(frame)
    return [found[sample_id][-1] for sample_id in frame["ID"]]


# ---------------------------------------------------------------- the two rules


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (ANNA, True),
        (("19610412", "F", "center", "20200606"), True),  # another day at the same site
        (("19610412", "F", "center", "UND"), True),
        (("19610412", "F", "people", "20190115"), True),  # the same day at another site
        (("19610412", "F", "UND", "20190115"), True),  # the same day, wherever it was
        (("19610412", "F", "people", "20200606"), False),
        (("19610412", "F", "UND", "UND"), False),
        (("19610412", "M", "center", "20190115"), False),
        (("19610412", "UND", "center", "20190115"), False),
        (("19610413", "F", "center", "20190115"), False),
        (("UND", "F", "center", "20190115"), False),
        (("UND", "UND", "UND", "UND"), False),
    ],
)
def test_birth_date_and_sex_with_site_or_day_make_a_patient(other: Row, is_same: bool) -> None:
    assert patients(ANNA, other) == ["0", "0" if is_same else "1"]
    assert patients(other, ANNA) == ["0", "0" if is_same else "1"]


def test_two_that_are_both_one_with_a_third_are_one() -> None:
    bridge = ("19610412", "F", "people", "20190115")
    last = ("19610412", "F", "people", "20210101")
    assert patients(ANNA, last) == ["0", "1"]
    assert patients(ANNA, last, bridge) == ["0", "0", "0"]


@pytest.mark.parametrize("column", range(len(PATIENT_COLUMNS)))
@pytest.mark.parametrize("unknown", UNKNOWN, ids=repr)
def test_what_is_unknown_joins_nothing(column: int, unknown: Any) -> None:
    # All that the two have in common otherwise is just not enough.
    needed = {0: ANNA, 1: ANNA, 2: (*ANNA[:3], "UND"), 3: (*ANNA[:2], "UND", ANNA[3])}
    row = list(needed[column])
    assert patients(tuple(row), tuple(row)) == ["0", "0"]  # type: ignore[arg-type]
    row[column] = unknown
    assert patients(tuple(row), tuple(row)) == ["0", "1"]  # type: ignore[arg-type]


# ---------------------------------------------------------------- how cells are read


@pytest.mark.parametrize(
    "date",
    ["19610412", " 19610412 ", "1961-04-12", "1961/04/12", 19610412, 19610412.0,
     "12.04.1961", "12.4.1961", "1961-04-12 00:00:00", "19610412.0", "1961/4/12",
     np.int64(19610412), datetime.datetime(1961, 4, 12), datetime.date(1961, 4, 12),
     pd.Timestamp(1961, 4, 12)],
    ids=repr,
)  # fmt: skip
def test_a_date_is_the_same_in_whatever_form_a_spreadsheet_keeps_it(date: Any) -> None:
    assert patients(ANNA, (date, *ANNA[1:])) == ["0", "0"]


@pytest.mark.parametrize(
    "date",
    ["00000000", "19619999", "19610229", "19000101", "18991231", "1961", "unknown", "62Y", 0, -1,
     1e300, float("inf"), True, [19610412]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_day_of_the_calendar_is_unknown(date: Any) -> None:
    if isinstance(date, list):
        date = str(date)
    assert patients((date, *ANNA[1:]), (date, *ANNA[1:])) == ["0", "1"]


@pytest.mark.parametrize("form", ["12/04/1961", "04/12/1961", "12-4-1961", "4-12-1961"])
def test_where_the_order_is_not_told_both_days_may_be_the_patients(form: str) -> None:
    date = form.replace("-", "/")
    assert patients((form, *ANNA[1:]), (date, *ANNA[1:])) == ["0", "0"]
    assert patients(ANNA, (form, *ANNA[1:])) == ["0", "0"]
    # Read in one order both are 12 April and 4 December; they are never the same.
    other = "/".join([*date.split("/")[1::-1], "1961"])
    assert patients((form, *ANNA[1:]), (other, *ANNA[1:])) == ["0", "1"]


def test_where_a_row_tells_the_order_only_that_day_is_the_patients() -> None:
    clear = ("25/04/1961", "M", "center", "UND")
    assert patients(ANNA, ("12/04/1961", *ANNA[1:]), clear) == ["0", "0", "2"]
    assert patients(ANNA, ("04/12/1961", *ANNA[1:]), clear) == ["0", "1", "2"]


@pytest.mark.parametrize("word", ["f", "Female", " FEMALE ", "女"])
def test_words_for_a_sex_are_that_sex(word: str) -> None:
    assert patients(ANNA, (ANNA[0], word, *ANNA[2:])) == ["0", "0"]


def test_case_and_spaces_of_sex_and_site_do_not_matter() -> None:
    one = ("19610412", "F", "Longgang  Center", "20190115")
    assert patients(one, ("19610412", "f ", "longgang center", "20200202")) == ["0", "0"]


def test_a_site_may_be_a_number() -> None:
    assert patients((*ANNA[:2], 1, "UND"), (*ANNA[:2], "1", "UND")) == ["0", "0"]


def test_no_rows_are_no_patients() -> None:
    assert find_patients(pd.DataFrame(columns=["ID", *PATIENT_COLUMNS])) == {}


# ---------------------------------------------------------------- any rows

cells = st.tuples(
    st.sampled_from(["19610412", "19700101", "UND"]),
    st.sampled_from(["F", "M", "UND"]),
    st.sampled_from(["center", "people", "UND"]),
    st.sampled_from(["20190115", "20190116", "20190117", "UND"]),
)
tables = st.lists(cells, max_size=14)


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(PATIENT_COLUMNS), dtype=object)
    return frame.assign(ID=[f"amos_{n:04d}" for n in range(len(frame))])


def literal(frame: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Return ID -> IDs of its patient: as the rule says, looked at again until nothing changes."""
    rows = {row["ID"]: row for row in frame.to_dict("records")}
    sets = {i: {i} for i in rows}

    def agree(one: str, other: str, *columns: str) -> bool:
        return all(rows[one][c] == rows[other][c] != "UND" for c in columns)

    changed = True
    while changed:
        changed = False
        for one in rows:
            for other in rows:
                by_site = agree(one, other, "birth_date", "sex", "site")
                by_day = agree(one, other, "birth_date", "sex", "acquisition_date")
                if (by_site or by_day) and sets[one] != sets[other]:
                    merged = sets[one] | sets[other]
                    for member in merged:
                        sets[member] = merged
                    changed = True
    return {i: frozenset(members) for i, members in sets.items()}


@many
@given(tables)
def test_patients_are_what_the_rule_says_literally(rows: list[Row]) -> None:
    frame = frame_of(rows)
    found = find_patients(frame)
    expected = literal(frame)
    assert found == {i: min(members) for i, members in expected.items()}


@many
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], shuffle: random.Random) -> None:
    frame = frame_of(rows)
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    assert find_patients(frame.iloc[order]) == find_patients(frame)
