"""The label map: its default, its file, and every way in which a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.datasets import AMOS22
from amos_dask.errors import LabelMapError
from amos_dask.labels import LabelMap, read_label_map

TUTORIAL = [
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gall bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "postcava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate",
    "uterus",
]

quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def read(folder: Path, text: str | bytes) -> LabelMap:
    path = folder / "my_labels.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_label_map(path)


def error_of(folder: Path, text: str | bytes) -> str:
    with pytest.raises(LabelMapError) as caught:
        read(folder, text)
    return str(caught.value)


# ---------------------------------------------------------------- the default


def test_the_default_is_the_tutorials_seventeen_names() -> None:
    assert AMOS22.label_map.names() == dict(enumerate(TUTORIAL))
    assert list(AMOS22.label_map) == list(range(17))
    assert len(AMOS22.label_map) == 17


def test_columns_have_two_digits_and_no_spaces() -> None:
    columns = AMOS22.label_map.columns()
    assert columns[0] == "mask_00_background"
    assert columns[2] == "mask_02_right_kidney"
    assert columns[11] == "mask_11_right_adrenal_gland"
    assert list(columns) == list(range(17))


def test_unknown_labels_are_ascending_and_given_once() -> None:
    assert AMOS22.label_map.unknown([99, 3, 17, 99, 0]) == (17, 99)
    assert AMOS22.label_map.unknown(range(17)) == ()


def test_the_default_file_has_a_line_for_each_label_and_reads_back(tmp_path: Path) -> None:
    text = AMOS22.label_map.to_yaml()
    assert text.splitlines() == [f"{index}: {name}" for index, name in enumerate(TUTORIAL)]
    assert read(tmp_path, text) == AMOS22.label_map


# ---------------------------------------------------------------- forms that are read


@pytest.mark.parametrize(
    "text",
    [
        "0: background\n1: spleen\n",
        "1: spleen\n0: background\n",
        "0: background\r\n1: spleen\r\n",
        "\ufeff0: background\n1: spleen\n",
        "{0: background, 1: spleen}",
        "0: \"background\"\n1: 'spleen'\n",
        "# ours\n0: background # nothing\n\n1: spleen",
        "full_form_index_map:\n  0: background\n  1: spleen\n",
    ],
    ids=["lines", "order", "crlf", "bom", "flow", "quoted", "comments", "full-form"],
)
def test_forms_of_the_same_map_are_read_alike(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).entries == ((0, "background"), (1, "spleen"))


names = st.from_regex(r"[A-Za-z0-9_äßé][\w .+()-]{0,30}", fullmatch=True)


@quick
@given(
    index_names=st.dictionaries(
        st.integers(1, 255),
        names,
        max_size=6,
    )
)
def test_a_written_map_reads_back(
    tmp_path_factory: pytest.TempPathFactory, index_names: dict[int, str]
) -> None:
    distinct = {0: "background"}
    taken = {"background"}
    for index, name in index_names.items():
        if name.replace(" ", "_").casefold() not in taken:
            taken.add(name.replace(" ", "_").casefold())
            distinct[index] = name
    label_map = LabelMap(tuple(sorted(distinct.items())))
    assert read(tmp_path_factory.getbasetemp(), label_map.to_yaml()) == label_map
    assert yaml.safe_load(label_map.to_yaml()) == distinct


# ---------------------------------------------------------------- files that are refused

BOMB = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n0: background\n"
BAD = {
    "empty": "",
    "scalar": "spleen",
    "list": "- background\n- spleen",
    "nothing but comments": "# labels\n",
    "not yaml": "0: background\n1: [spleen\n",
    "tab": "0: background\n\t1: spleen\n",
    "two documents": "0: background\n---\n0: background\n",
    "duplicate index": "0: background\n1: spleen\n1: liver\n",
    "duplicate name": "0: background\n1: spleen\n2: spleen\n",
    "same name with a space": "0: background\n1: right kidney\n2: right_kidney\n",
    "same name in capitals": "0: background\n1: Liver\n2: liver\n",
    "fraction": "0: background\n1.5: spleen\n",
    "whole float": "0: background\n1.0: spleen\n",
    "text index": "0: background\nspleen: 1\n",
    "boolean index": "0: background\ntrue: spleen\n",
    "boolean for the background": "false: background\n1: spleen\n",
    "null index": "0: background\n~: spleen\n",
    "list index": "0: background\n? [1]\n: spleen\n",
    "negative index": "0: background\n-1: spleen\n",
    "index too large": "0: background\n256: spleen\n",
    "no background": "1: spleen\n2: liver\n",
    "slash": "0: background\n1: a/b\n",
    "backslash": "0: background\n1: a\\b\n",
    "parent folder": "0: background\n1: ..\n",
    "semicolon": "0: background\n1: a;b\n",
    "line break": '0: background\n1: "a\\nb"\n',
    "NUL": '0: background\n1: "a\\0b"\n',
    "empty name": '0: background\n1: ""\n',
    "blank name": '0: background\n1: "  "\n',
    "name is missing": "0: background\n1:\n",
    "name is a list": "0: background\n1: [spleen]\n",
    "nested too far": "full_form_index_map:\n  full_form_index_map:\n    0: background\n",
    "another key beside": "full_form_index_map:\n  0: background\nother: 1\n",
    "python tag": "0: background\n1: !!python/object/apply:os.getcwd []\n",
    "python name": "0: background\n1: !!python/name:os.system\n",
    "aliases": "0: &a background\n1: *a\n",
    "alias bomb": BOMB,
    "merge key": "base: &b {0: background}\n<<: *b\n1: spleen\n",
    "latin-1": "0: background\n1: r\xe4t\n".encode("latin-1"),
    "utf-16": "0: background\n".encode("utf-16"),
    "control character": b"0: background\n1: sp\x07leen\n",
    "zip": b"PK\x03\x04\0\0\0\0",
    "huge": "0: background\n" + "#" * (2 << 20),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path: Path, kind: str) -> None:
    message = error_of(tmp_path, BAD[kind])
    assert str(tmp_path / "my_labels.yaml") in message
    assert "\n" not in message


MISREAD = {
    "impossible date as an index": "0: background\n2021-13-45: spleen\n",
    "empty binary number": "0: background\n0b_: spleen\n",
    "number of five thousand digits": "0: background\n" + "1" * 5000 + ": spleen\n",
    "nested five thousand deep": "0: background\n1: " + "[" * 5000 + "]" * 5000 + "\n",
}


@pytest.mark.parametrize("kind", MISREAD)
def test_yaml_that_breaks_the_yaml_reader_is_refused_too(tmp_path: Path, kind: str) -> None:
    assert str(tmp_path / "my_labels.yaml") in error_of(tmp_path, MISREAD[kind])


@pytest.mark.parametrize("again", ["0x1", "+1", "0b1", "01"])
def test_one_index_in_two_spellings_is_a_duplicate(tmp_path: Path, again: str) -> None:
    message = error_of(tmp_path, f"0: background\n1: spleen\n{again}: liver\n")
    assert "my_labels.yaml" in message


@pytest.mark.parametrize("index", ["010", "0:30", "1:30"])
def test_an_index_is_never_read_as_another_number(tmp_path: Path, index: str) -> None:
    """YAML 1.1 has octal and sexagesimal numbers: 010 would be 8 and 1:30 would be 90."""
    try:
        label_map = read(tmp_path, f"0: background\n{index}: spleen\n")
    except LabelMapError:
        return
    assert index.isdigit()
    assert list(label_map) == [0, int(index, 10)]


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(LabelMapError) as caught:
            read_label_map(path)
        assert str(path) in str(caught.value)


def test_the_duplicate_is_named(tmp_path: Path) -> None:
    assert "kidney" in error_of(tmp_path, "0: background\n1: kidney\n2: Kidney\n")
    assert "7" in error_of(tmp_path, "0: background\n7: kidney\n7: liver\n")
