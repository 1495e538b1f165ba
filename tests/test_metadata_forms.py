"""Dates and sexes as people write them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.handwritten import Order, find_days, find_sex, read_dates, read_sexes

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)
DAY = "19710805"


@pytest.mark.parametrize(
    "word", ["F", "f", " F ", "female", "Female", "FEMALE", "woman", "女", "\uff26", "f."]
)
def test_words_for_female(word: str) -> None:
    assert find_sex(word) == "F"


@pytest.mark.parametrize("word", ["M", "m", "male", "Male", "man", "männlich", "ma\u0308nnlich"])
def test_words_for_male(word: str) -> None:
    assert find_sex(word) == "M"


@pytest.mark.parametrize("word", ["", "0", "1", "2", "O", "other", "UND", "fm", "h", "x", "mf"])
def test_nothing_else_is_guessed(word: str) -> None:
    assert find_sex(word) == ""


def test_sexes_that_are_not_understood_are_listed() -> None:
    found = read_sexes(["f", "1", "Male"])
    assert (found.forms, found.unknown) == ({"f": "F", "Male": "M"}, ("1",))


@pytest.mark.parametrize(
    "text",
    [
        "19710805",
        "19710805.0",
        "1971-08-05",
        "1971-8-5",
        "1971/8/5",
        "1971/08/05",
        "1971.08.05",
        "05.08.1971",
        "5.8.1971",
        "1971-08-05 00:00:00",
        "1971-08-05T00:00:00.000Z",
        "1971/8/5 0:00",
        "05.08.1971 00:00:00",
        "1971年8月5日",
        " 19710805 ",
    ],
)
def test_forms_of_one_day(text: str) -> None:
    assert read_dates([text]).forms == {text: DAY}


@pytest.mark.parametrize(
    "text",
    ["", "1971", "197108", "19711305", "1971-02-30", "08.25.1971", "00000000", "5.8.71", "26150",
     "62Y", "1971-08/05", "1971-08-05 noon", "31/31/1971", "-19710805", "19710805.5", "١٩٧١٠٨٠٥"],
)  # fmt: skip
def test_what_is_no_day_is_said(text: str) -> None:
    found = read_dates([text])
    assert (found.forms, found.ambiguous, found.unknown) == ({}, (), (text,))


@pytest.mark.parametrize("mark", ["/", "-"])
def test_the_clear_rows_of_a_column_tell_the_order(mark: str) -> None:
    one, day_first, month_first = (
        text.replace("/", mark) for text in ("05/08/1971", "25/08/1971", "08/25/1971")
    )
    assert read_dates([one]).ambiguous == (one,)
    assert read_dates([one, day_first]).forms == {one: DAY, day_first: "19710825"}
    assert read_dates([month_first, one]).forms == {one: "19710508", month_first: "19710825"}
    both = read_dates([one, day_first, month_first])
    assert both.forms == {day_first: "19710825", month_first: "19710825"}
    assert both.ambiguous == (one,)


def test_other_forms_tell_nothing_of_the_order() -> None:
    found = read_dates(["05/08/1971", "25.08.1971", "1971-08-25", "5/5/1971"])
    assert found.ambiguous == ("05/08/1971",)
    assert found.forms["5/5/1971"] == "19710505"


@quick
@given(st.dates(), st.sampled_from(Order), st.sampled_from(["/", "-"]))
def test_a_day_is_among_those_that_its_text_may_mean(
    day: datetime.date, order: Order, mark: str
) -> None:
    numbers = [f"{day.day:02d}", f"{day.month:02d}"]
    if order is Order.MONTH_FIRST:
        numbers.reverse()
    days = find_days(mark.join([*numbers, f"{day.year:04d}"]))
    assert days[order] == day.isoformat().replace("-", "")
    assert len(set(days.values())) == (2 if day.day <= 12 and day.day != day.month else 1)
    for form in ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"):
        text = day.isoformat() if form == "%Y-%m-%d" else f"{day.year:04d}" + day.strftime(form[2:])
        assert set(find_days(text).values()) == {days[order]}
