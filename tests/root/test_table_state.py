"""What is remembered of the manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amos_dask.root.layout import Layout
from amos_dask.root.table_state import (
    TableCounts,
    TableState,
    read_earlier_identities,
    read_table_state,
    write_table_state,
)

COUNTS = TableCounts(12, 6, ((12.5, 3, 2), (100.0, 40, 7)))
TABLES = ["descriptor/a.xlsx", "grouped/b.xlsx"]
OTHERS = ["descriptor/issues.jsonl"]
MADE_FROM = {"tables": "ab12", "report": "ab12 True"}


def remember(layout: Layout) -> None:
    tables, others = ([layout.root / name for name in names] for names in (TABLES, OTHERS))
    write_table_state(layout, MADE_FROM, iter(tables), iter(others), COUNTS)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return a ROOT_DIR with two manifests and a file of issues, which are remembered."""
    layout = Layout(tmp_path)
    remember(layout)
    return layout


def restored(layout: Layout) -> TableState:
    state = read_table_state(layout)
    assert state is not None
    return state


def test_everything_comes_back(layout: Layout) -> None:
    state = restored(layout)
    assert state.made_from == MADE_FROM
    assert list(state.tables) == TABLES  # in the order of writing
    assert list(state.others) == OTHERS
    assert state.counts == COUNTS
    assert hash(state.counts) == hash(COUNTS)


def test_nothing_is_remembered_of_a_new_root(tmp_path: Path) -> None:
    assert read_table_state(Layout(tmp_path)) is None
    assert read_earlier_identities(Layout(tmp_path)) == {}


def test_the_state_of_the_same_files_is_the_same_bytes(layout: Layout) -> None:
    first = layout.tables.read_bytes()
    remember(layout)
    assert layout.tables.read_bytes() == first


def test_what_an_earlier_version_remembers_is_known(layout: Layout) -> None:
    content = json.loads(layout.tables.read_text())
    files = {"tables": dict.fromkeys(TABLES, "12-ab"), "others": dict.fromkeys(OTHERS, "3-cd")}
    layout.tables.write_text(json.dumps({**content, "made_from": "ab12", **files}))
    assert read_earlier_identities(layout) == {**files["tables"], **files["others"]}
    state = restored(layout)
    assert state.made_from == {}  # so that all is looked at
    assert list(state.tables) == TABLES
    remember(layout)
    assert read_earlier_identities(layout) == {}


def test_a_state_cut_anywhere_is_none(layout: Layout) -> None:
    content = layout.tables.read_bytes()
    for n_bytes in range(len(content)):
        layout.tables.write_bytes(content[:n_bytes])
        assert read_table_state(layout) is None
        assert read_earlier_identities(layout) == {}


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, [1], [[1, 2]], {"a": 1}, True])
def test_a_state_of_another_form_is_none_or_not_current(layout: Layout, value: Any) -> None:
    content = json.loads(layout.tables.read_text())
    others = [{**content, key: value} for key in ("made_from", "tables", "counts")]
    others += [{**content, "counts": {**content["counts"], k: value}} for k in content["counts"]]
    others += [{k: v for k, v in content.items() if k != key} for key in content]
    for other in (value, *others):
        layout.tables.write_text(json.dumps(other))
        state = read_table_state(layout)
        assert state is None or isinstance(state, TableState)
        read_earlier_identities(layout)


def test_bytes_that_are_no_text_are_no_state(layout: Layout) -> None:
    layout.tables.write_bytes(b"\xff\xfe\x00")
    assert read_table_state(layout) is None
