"""csv files that people write: encodings and delimiters."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.handwritten import Decoded, decode, find_delimiter, split_rows

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)

HEADER = "amos_id,Patient's Birth Date,Patient's Sex,Site\n"


def table(*sites: str) -> str:
    return HEADER + "".join(f"{n},19600101,F,{site}\n" for n, site in enumerate(sites * 3))


CHINESE = table("深圳市龙岗区中心医院", "龙岗区人民医院")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("text", [HEADER, table("LGPH"), CHINESE, table("Köln"), table("서울")])
def test_unicode_is_told_for_certain(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == Decoded(text)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "gb18030"])
def test_byte_order_marks_are_no_text(encoding: str) -> None:
    assert decode(("\ufeff" + CHINESE).encode(encoding)) == Decoded(CHINESE)
    assert decode(("\ufeff" + CHINESE).encode(encoding), encoding) == Decoded(CHINESE)


@pytest.mark.parametrize(
    ("encoding", "sites"),
    [
        ("gb18030", ["深圳市龙岗区中心医院", "龙岗区人民医院"]),
        ("gb18030", ["龙岗"]),
        ("gb18030", ["女", "男"]),
        ("gb18030", ["飞利浦"]),
        ("big5", ["臺大醫院", "長庚紀念醫院"]),
        ("cp932", ["東京大学病院"]),
        ("cp949", ["서울대학교병원"]),
        ("cp1252", ["Universitätsklinikum Köln"]),
        ("cp1252", ["Köln"]),
        ("cp1252", ["São Paulo"]),
        ("cp1252", ["Hôpital Européen", "Genève"]),
        ("cp1252", ["weiblich", "männlich"]),
        ("cp1250", ["Łódź"]),
        ("cp1251", ["Больница Москва"]),
        ("koi8_r", ["Москва"]),
    ],
)
def test_other_encodings_are_recognised_and_a_word_is_shown(
    encoding: str, sites: list[str]
) -> None:
    text = table(*sites)
    found = decode(text.encode(encoding))
    assert (found.text, found.recognised) == (text, encoding)
    assert found.word
    assert not found.word.isascii()
    assert found.word in text


def test_an_encoding_that_is_named_is_not_said(tmp_path: object) -> None:
    assert decode(CHINESE.encode("gb18030"), "GB18030") == Decoded(CHINESE)
    assert decode(table("Łódź").encode("cp1250"), "cp1250") == Decoded(table("Łódź"))


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("gb18031", "no encoding"), ("hex", "no encoding"), ("utf-8", "not a text in utf-8")],
)
def test_an_encoding_that_cannot_be_is_refused(encoding: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(CHINESE.encode("gb18030"), encoding)


def test_what_is_beyond_recognition_is_refused() -> None:
    with pytest.raises(ValueError, match="not recognised"):
        decode(bytes(range(128, 256)) * 50 + b"\x81\xff")


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(content: bytes) -> None:
    try:
        found = decode(content)
    except ValueError:
        return
    assert isinstance(found.text, str)
    list(split_rows(found.text))


@quick
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_any_text_in_utf_8_comes_back(text: str) -> None:
    assert decode(text.encode()).text == text.removeprefix("\ufeff")


# ---------------------------------------------------------------- delimiters

ROWS = [["amos_id", "Patient's Sex", "Site"], ["1", "F", 'a, b; c\td "e"'], ["2", "M", "f\ng"]]


def written(delimiter: str, quoting: int = csv.QUOTE_MINIMAL, end: str = "\r\n") -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[call-overload]
    writer.writerows(ROWS)
    return buffer.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("before", ["", "sep=", "SEP="])
def test_the_delimiter_is_told_by_the_header(delimiter: str, quoting: int, before: str) -> None:
    text = written(delimiter, quoting)
    if before:
        text = f"{before}{delimiter}\r\n{text}"
    assert list(split_rows(text)) == ROWS


def test_a_comma_is_taken_where_nothing_tells() -> None:
    assert find_delimiter("") == find_delimiter("sample") == find_delimiter("\n\n") == ","
    assert find_delimiter("# a;b;c\nsample,label\n") == ","
