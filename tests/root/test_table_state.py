"""What is remembered of the manifests holds as long as nothing has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amos_dask.root.layout import Layout
from amos_dask.root.table_state import (
    TableCounts,
    TableState,
    adding_to_table,
    read_table_state,
    write_table_state,
)

COUNTS = TableCounts(12, 6, ((12.5, 3, 2), (100.0, 40, 7)))
TABLES = ["descriptor/a.xlsx", "grouped/b.xlsx"]
OTHERS = ["descriptor/issues.jsonl"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return a ROOT_DIR with two manifests and a file of issues, which are remembered."""
    layout = Layout(tmp_path)
    for name in (*TABLES, *OTHERS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    tables, others = ([tmp_path / name for name in names] for names in (TABLES, OTHERS))
    write_table_state(layout, "ab12", tables, others, COUNTS)
    return layout


def restored(layout: Layout) -> TableState:
    state = read_table_state(layout)
    assert state is not None
    return state


def test_everything_comes_back(layout: Layout) -> None:
    state = restored(layout)
    assert state.made_from == "ab12"
    assert list(state.tables) == TABLES  # in the order of writing
    assert list(state.others) == OTHERS
    assert state.counts == COUNTS
    assert hash(state.counts) == hash(COUNTS)


def test_nothing_is_remembered_of_a_new_root(tmp_path: Path) -> None:
    assert read_table_state(Layout(tmp_path)) is None


def test_the_state_of_the_same_files_is_the_same_bytes(layout: Layout) -> None:
    first = layout.tables.read_bytes()
    tables, others = ([layout.root / name for name in names] for names in (TABLES, OTHERS))
    write_table_state(layout, "ab12", iter(tables), iter(others), COUNTS)
    assert layout.tables.read_bytes() == first


def test_it_is_current_for_the_same_sources_only(layout: Layout) -> None:
    assert restored(layout).is_current(layout, "ab12")
    assert not restored(layout).is_current(layout, "ab13")


@pytest.mark.parametrize("name", [*TABLES, *OTHERS])
def test_it_is_not_current_for_a_file_that_is_gone_or_another(layout: Layout, name: str) -> None:
    path = layout.root / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    assert not restored(layout).is_current(layout, "ab12")
    path.unlink()
    assert not restored(layout).is_current(layout, "ab12")
    path.mkdir()
    assert not restored(layout).is_current(layout, "ab12")
    path.rmdir()
    path.write_bytes(content)
    assert restored(layout).is_current(layout, "ab12")


def test_a_state_cut_anywhere_is_none(layout: Layout) -> None:
    content = layout.tables.read_bytes()
    for n_bytes in range(len(content)):
        layout.tables.write_bytes(content[:n_bytes])
        assert read_table_state(layout) is None


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


def test_bytes_that_are_no_text_are_no_state(layout: Layout) -> None:
    layout.tables.write_bytes(b"\xff\xfe\x00")
    assert read_table_state(layout) is None


# ---------------------------------------------------------------- what others add


def add_to(layout: Layout, name: str) -> None:
    path = layout.root / name
    with adding_to_table(layout, path):
        path.write_text(path.read_text() + " and a worksheet")


def test_a_manifest_with_an_addition_of_ours_is_as_it_is_remembered(layout: Layout) -> None:
    before = restored(layout)
    add_to(layout, TABLES[1])
    assert restored(layout).is_current(layout, "ab12")
    assert {**restored(layout).tables, TABLES[1]: ""} == {**before.tables, TABLES[1]: ""}
    assert restored(layout).others == before.others


def test_a_manifest_that_was_altered_before_stays_altered(layout: Layout) -> None:
    (layout.root / TABLES[1]).write_text("by hand")
    add_to(layout, TABLES[1])
    assert [file.path for file in restored(layout).altered_files(layout)] == [TABLES[1]]


def test_an_addition_hides_no_alteration_of_others(layout: Layout) -> None:
    (layout.root / TABLES[0]).write_text("by hand")
    add_to(layout, TABLES[1])
    assert [file.path for file in restored(layout).altered_files(layout)] == [TABLES[0]]


@pytest.mark.parametrize("name", ["grouped/other.xlsx", OTHERS[0], "../beside.xlsx"])
def test_what_is_no_manifest_is_not_remembered(layout: Layout, name: str) -> None:
    (layout.root / name).write_text("mine")
    before = layout.tables.read_bytes()
    add_to(layout, name)
    assert layout.tables.read_bytes() == before


def test_without_a_state_nothing_is_remembered(layout: Layout) -> None:
    layout.tables.unlink()
    add_to(layout, TABLES[1])
    assert not layout.tables.exists()


def test_an_addition_that_failed_changes_nothing(layout: Layout) -> None:
    before = layout.tables.read_bytes()
    with pytest.raises(OSError, match="full"), adding_to_table(layout, layout.root / TABLES[1]):
        raise OSError("full")
    assert layout.tables.read_bytes() == before
