"""Files of exclusions: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.datasets import AMOS22
from amos_dask.errors import AmosDaskError, ExclusionsError
from amos_dask.labels import LabelMap
from amos_dask.params import EVERY_LABEL, NO_EXCLUSIONS, Exclusions, read_exclusions
from amos_dask.root.choices import find_exclusions, keep_exclusions
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)
NOTHING: frozenset[int] = frozenset()


def read(folder: Path, text: str | bytes, label_map: LabelMap = AMOS22.label_map) -> Exclusions:
    path = folder / "exclude.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_exclusions(path, label_map, AMOS22)


def test_nothing_is_excluded_without_a_file() -> None:
    assert NO_EXCLUSIONS.for_sample("amos_0004") == NOTHING


@pytest.mark.parametrize(
    ("row", "labels_of_4", "labels_of_5"),
    [
        ("amos_0004,6", {6}, NOTHING),
        ("4,liver", {6}, NOTHING),
        ("0004, Liver ", {6}, NOTHING),
        ("amos_0004,right kidney", {2}, NOTHING),
        ("amos_0004,right_kidney", {2}, NOTHING),
        ("4,06", {6}, NOTHING),
        ("4,0", {0}, NOTHING),
        ("4,", EVERY_LABEL, NOTHING),
        ("4", EVERY_LABEL, NOTHING),
        ("4,*", EVERY_LABEL, NOTHING),
        ("*,15", {15}, {15}),
        (",prostate", {15}, {15}),
        ("*,*", EVERY_LABEL, EVERY_LABEL),
        ("*,", EVERY_LABEL, EVERY_LABEL),
        ("*", EVERY_LABEL, EVERY_LABEL),
        (",*", EVERY_LABEL, EVERY_LABEL),
        ('"amos_0004","6"', {6}, NOTHING),
        ("4,6,", {6}, NOTHING),
        # left aside
        ("", NOTHING, NOTHING),
        ("   ", NOTHING, NOTHING),
        (",", NOTHING, NOTHING),  # as spreadsheets write blank rows
        ("# 4,6", NOTHING, NOTHING),
        ('  # "', NOTHING, NOTHING),
        # several
        ("4,6\n4,liver\n5,1\n4,7", {6, 7}, {1}),
        ("4,6\n*,1", {1, 6}, {1}),
        ("*,1\n4,", EVERY_LABEL, {1}),
    ],
)
def test_what_a_row_means(
    tmp_path: Path, row: str, labels_of_4: set[int], labels_of_5: set[int]
) -> None:
    found = read(tmp_path, f"sample,label\n{row}\n")
    assert found.for_sample("amos_0004") == labels_of_4
    assert found.for_sample("amos_0005") == labels_of_5


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffsample,label\r\n4,6\r\n",
        "# from the report\n\nsample,label\n4,6",
        " Sample , LABEL \n4,6\n",
        "label,sample\n6,4\n",
    ],
)
def test_ways_to_write_the_same(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Exclusions(NOTHING, {"amos_0004": frozenset({6})})


def test_a_name_that_looks_like_a_number_gives_way_to_the_number(tmp_path: Path) -> None:
    label_map = LabelMap(((0, "background"), (1, "2"), (2, "two")))
    found = read(tmp_path, "sample,label\n4,2\n5,1\n", label_map)
    assert found.for_sample("amos_0004") == {2}
    assert found.for_sample("amos_0005") == {1}


def test_the_text_is_kept_and_does_not_count(tmp_path: Path) -> None:
    text = "sample,label\n# mine\n4,6\n"
    found = read(tmp_path, text)
    assert found.text == text
    assert found == read(tmp_path, "sample,label\n4,liver")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "exclude.csv: expected a first line sample,label."),
        ("# nothing\n\n", "exclude.csv: expected a first line sample,label."),
        ("amos_0004,6\n", "line 1: expected the columns sample,label."),
        ("sample\n4\n", "line 1: expected the columns sample,label."),
        ("sample,label,why\n", "line 1: expected the columns sample,label."),
        ("sample|label\n4|6\n", "line 1: expected the columns sample,label."),
        ("sample,sample\n", "line 1: expected the columns sample,label."),
        ("sample,label\n4,6,7\n", "line 2: more cells than the columns sample,label."),
        ("sample,label\n4,6\n\n# c\n4,17\n", "line 5: the label map has no label '17'."),
        ("sample,label\n4,hart\n", "line 2: the label map has no label 'hart'."),
        ("sample,label\n4,-1\n", "line 2: the label map has no label '-1'."),
        ("sample,label\n4,\u0663\n", "line 2: the label map has no label"),
        ("sample,label\nfour,6\n", "line 2: 'four' is no sample such as amos_0004, 4 or *."),
        ("sample,label\n1-20,6\n", "line 2: '1-20' is no sample"),
        ("sample,label\n\u0664,6\n", "line 2: '\u0664' is no sample"),
        ('sample,label\n4,"6\n', "line 2: not a line of a csv file"),
        (b"sample,label\n4,\xff\n", "line 2: the label map has no label"),
        (b"\xff\xfesample,label\n", "not a readable list of exclusions"),
        (b"sample,label\n" + b"#" * (1 << 24), "larger than 16 MiB"),
    ],
)
def test_what_is_not_understood_is_said_in_one_sentence(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    with pytest.raises(ExclusionsError) as raised:
        read(tmp_path, text)
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert isinstance(raised.value, AmosDaskError)


def test_a_missing_file_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExclusionsError, match="No such file"):
        read_exclusions(tmp_path / "none.csv", AMOS22.label_map, AMOS22)


@quick
@given(text=st.text(max_size=60) | st.text("s,amplelb0123456789*#\n\"' _", max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    for content in (text, f"sample,label\n{text}"):
        try:
            found = read(folder, content.encode("utf-8", "surrogatepass"))
        except ExclusionsError:
            continue
        assert found.for_sample("amos_0004") <= EVERY_LABEL


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_that_a_spreadsheet_saved_is_read_and_kept(
    tmp_path: Path, encoding: str, delimiter: str
) -> None:
    text = "# 龙岗区人民医院\nsample,label\namos_0004,liver\n".replace(",", delimiter)
    layout = Layout(tmp_path)
    layout.denoise_exclude.parent.mkdir()
    content = text.replace("\n", "\r\n").encode(encoding)
    layout.denoise_exclude.write_bytes(content)
    found = find_exclusions(layout, None, AMOS22.label_map)
    assert found.by_sample == {"amos_0004": frozenset({6})}
    with OwnFiles(layout) as own:
        keep_exclusions(own, found)
    assert layout.denoise_exclude.read_bytes() == content
