"""csv and Parquet files beside workbooks: the same cells, kept up to date, and nobody else's."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from roots import ct_archive

from amos_dask import run, verify
from amos_dask.errors import AmosDaskError
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles
from amos_dask.tables import twins
from amos_dask.tables.own_workbooks import put_workbook

BOTH = ("csv", "parquet")
FIRST = pd.DataFrame(
    {"ID": ["a", "b", "c"], "n": [1, None, 3], "v": [0.1 + 0.2, None, 2.0], "none": [None] * 3},
    dtype=object,
)
SECOND = FIRST[["ID"]].assign(part=["train", None, "val"])


def put(
    layout: Layout, asked: Collection[str] = (), name: str = "b", **sheets: pd.DataFrame
) -> list[str]:
    """Write a workbook and its twins; return the codes of what was said."""
    with OwnFiles(layout, is_run=True, twins=dict.fromkeys(asked, True)) as own:
        put_workbook(own, layout.grouped / f"{name}.xlsx", sheets)
    return [issue.code for issue in own.issues()]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "R")


def names(layout: Layout) -> list[str]:
    found = layout.grouped.rglob("*")
    return sorted(p.relative_to(layout.grouped).as_posix() for p in found if p.is_file())


def test_twins_hold_the_cells_of_each_worksheet(layout: Layout) -> None:
    assert put(layout, BOTH, Manifest=FIRST, split=SECOND) == []
    assert names(layout) == [
        *("b.csv", "b.parquet", "b.split.csv", "b.split.parquet", "b.xlsx"),
    ]
    text = (layout.grouped / "b.csv").read_text(encoding="utf-8")
    assert text == "ID,n,v,none\na,1,0.30000000000000004,\nb,,,\nc,3,2.0,\n"
    table = pyarrow.parquet.read_table(layout.grouped / "b.parquet")
    assert table.to_pylist() == FIRST.to_dict("records")
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "string"]


def test_an_only_worksheet_has_the_name_of_its_workbook(layout: Layout) -> None:
    put(layout, ["csv"], Changes=FIRST)
    assert names(layout) == ["b.csv", "b.xlsx"]


def test_twins_that_are_there_are_kept_up_to_date_unasked(layout: Layout) -> None:
    put(layout, BOTH, Manifest=FIRST)
    put(layout, Manifest=SECOND)
    assert pd.read_csv(layout.grouped / "b.csv").columns.tolist() == ["ID", "part"]
    assert pd.read_parquet(layout.grouped / "b.parquet").columns.tolist() == ["ID", "part"]
    put(layout, name="other", Manifest=FIRST)
    assert "other.csv" not in names(layout)


def test_twins_go_with_their_worksheet_and_with_their_workbook(layout: Layout) -> None:
    put(layout, BOTH, Manifest=FIRST, split=SECOND)
    put(layout, Manifest=FIRST)
    assert names(layout) == ["b.csv", "b.parquet", "b.xlsx"]
    with OwnFiles(layout) as own:
        own.remove(layout.grouped / "b.xlsx")
    assert names(layout) == []


def test_a_csv_file_of_somebody_else_stays(layout: Layout) -> None:
    theirs = layout.grouped / "b.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine\n")
    assert put(layout, ["csv"], Manifest=FIRST) == ["foreign_file"]
    assert theirs.read_text() == "mine\n"
    put(layout, Manifest=SECOND)  # nor is it taken for a twin
    assert theirs.read_text() == "mine\n"


def test_what_stands_in_the_way_of_one_hinders_no_other(layout: Layout) -> None:
    theirs = layout.grouped / "b.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine\n")
    assert put(layout, BOTH, Manifest=FIRST, split=SECOND) == ["foreign_file"]
    assert names(layout) == ["b.csv", "b.parquet", "b.split.csv", "b.split.parquet", "b.xlsx"]


def test_a_lost_twin_comes_back_and_one_not_wanted_goes(layout: Layout) -> None:
    put(layout, BOTH, Manifest=FIRST)
    for name in ("b.csv", "b.parquet"):
        (layout.grouped / name).unlink()
    put(layout, Manifest=FIRST)
    assert names(layout) == ["b.csv", "b.parquet", "b.xlsx"]
    with OwnFiles(layout, is_run=True, twins={"csv": False}) as own:
        assert twins.has_unwanted(own)
        put_workbook(own, layout.grouped / "b.xlsx", {"Manifest": FIRST})
        assert not twins.has_unwanted(own)
    assert names(layout) == ["b.parquet", "b.xlsx"]
    put(layout, Manifest=FIRST)
    assert names(layout) == ["b.parquet", "b.xlsx"]


def test_an_edited_twin_is_set_aside(layout: Layout) -> None:
    put(layout, ["csv"], Manifest=FIRST)
    (layout.grouped / "b.csv").write_text("edited\n")
    assert put(layout, Manifest=SECOND) == ["replaced"]
    assert [p.read_text() for p in layout.replaced.rglob("b.csv")] == ["edited\n"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_text_is_a_formula(layout: Layout, text: str) -> None:
    frame = pd.DataFrame({text: [text], "number": [-1]}, dtype=object)
    put(layout, ["csv"], Manifest=frame)
    found = pd.read_csv(layout.grouped / "b.csv")
    assert found.to_numpy().tolist() == [[f"'{text}", -1]]
    assert found.columns[0] == f"'{text}"


def test_a_column_of_several_types_is_text_in_parquet(layout: Layout) -> None:
    put(layout, ["parquet"], Manifest=pd.DataFrame({"v": [1, "one", None]}, dtype=object))
    table = pyarrow.parquet.read_table(layout.grouped / "b.parquet")
    assert table["v"].to_pylist() == ["1", "one", None]


def test_more_rows_than_a_worksheet_can_hold_are_part_files(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(layout, ["parquet"], Manifest=FIRST)
    monkeypatch.setattr(twins, "LARGEST_SHEET", 3)  # of which one row is the header
    assert put(layout, Manifest=FIRST.assign(n=[None, None, 5])) == []
    parts = ["b.parquet/part-00000.parquet", "b.parquet/part-00001.parquet"]
    assert names(layout) == [*parts, "b.xlsx"]
    whole = pd.read_parquet(layout.grouped / "b.parquet")  # of one type, though the first has none
    assert whole["ID"].tolist() == ["a", "b", "c"]
    assert whole["n"].tolist()[2] == 5
    monkeypatch.undo()
    put(layout, Manifest=FIRST)
    assert names(layout) == ["b.parquet", "b.xlsx"]


def test_without_pyarrow_it_is_said_at_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(layout, BOTH, Manifest=FIRST)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for asked in ((), ("parquet",)):
        with pytest.raises(AmosDaskError, match=r"amos-dask\[parquet\]"):
            twins.require_twins(OwnFiles(layout, twins=dict.fromkeys(asked, True)))
    twins.require_twins(OwnFiles(layout, twins={"csv": True, "parquet": False}))


@pytest.mark.integration
def test_a_run_writes_twins_of_every_workbook(
    root: Path, tmp_path: Path, cluster_address: str
) -> None:
    run(root, ct_archive(tmp_path, 4), cluster=cluster_address, progress="none")
    result = run(root, csv=True, cluster=cluster_address, progress="none")
    assert result.reasons == {"complete": result.n_processed}
    books = sorted(root.rglob("*.xlsx"))
    assert len(books) > 10
    for book in books:
        for title, cells in pd.read_excel(book, sheet_name=None, dtype=str).items():
            if title == "Columns":  # is for people
                continue
            paths = (book.with_suffix(".csv"), book.with_name(f"{book.stem}.{title}.csv"))
            twins_of = [pd.read_csv(path, dtype=str) for path in paths if path.is_file()]
            assert any(list(t.columns) == list(cells.columns) for t in twins_of), (book, title)
    assert verify(root, cluster=cluster_address, progress="none").exit_code == 0
    for lost in (root / "grouped" / "dataset_manifest.csv", root / "descriptor" / "issues.csv"):
        lost.unlink()
    gone = verify(root, cluster=cluster_address, progress="none")
    lost_names = ["descriptor/issues.csv", "grouped/dataset_manifest.csv"]
    assert sorted(issue.file for issue in gone.issues) == lost_names
    run(root, cluster=cluster_address, progress="none")  # as verify says
    assert all((root / name).is_file() for name in lost_names)
    assert verify(root, cluster=cluster_address, progress="none").exit_code == 0
    run(root, csv=False, cluster=cluster_address, progress="none")
    assert not list(root.rglob("*.csv"))
    assert verify(root, cluster=cluster_address, progress="none").exit_code == 0
