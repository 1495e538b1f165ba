"""What people put into our workbooks stays when these are written anew, or is set aside first."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.formatting.rule import CellIsRule
from openpyxl.styles import PatternFill
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.table import Table

from amos_dask.errors import ForeignFileError, WorkbookLockedError
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.staging import end_run, set_aside
from amos_dask.tables.cells import cells_of_sheets
from amos_dask.tables.drafts import Draft, write_draft
from amos_dask.tables.own_workbooks import find_altered_files, put_workbook
from amos_dask.tables.workbook import read_sheet

NAME = "grouped/book.xlsx"


def frame(*ids: str, start: int = 1, **more: Any) -> pd.DataFrame:
    cells = {"ID": list(ids), "seq": [name[-4:] for name in ids]}
    cells |= {"n": range(start, start + len(ids)), "v": [0.1 + 0.2] * len(ids)}
    return pd.DataFrame({**cells, **more}, dtype=object)


A, B, C, D = (f"amos_000{n}" for n in (1, 4, 6, 7))
FIRST = frame(A, B, C)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "R")
    layout.grouped.mkdir(parents=True)
    put(layout, FIRST)
    return layout


def put(layout: Layout, *frames: pd.DataFrame, adopt: bool = False, name: str = NAME) -> list[str]:
    """Write frames as worksheets ``Manifest``, ``Second``, …; return the codes of what was said."""
    with OwnFiles(layout, adopt=adopt, is_run=True) as own:
        titles = ("Manifest", "Second", "Third")
        put_workbook(own, layout.root / name, dict(zip(titles, frames, strict=False)))
    found = [issue.code for issue in own.issues()]
    end_run(layout)
    return found


def edit(layout: Layout, change: Callable[[Any], Any], name: str = NAME) -> None:
    """Open a workbook as people do, change it and save it."""
    book = load_workbook(layout.root / name)
    change(book)
    book.save(layout.root / name)
    book.close()


def open_book(layout: Layout, name: str = NAME) -> Any:
    return load_workbook(layout.root / name)


def add_column(book: Any) -> None:
    sheet = book["Manifest"]
    for row, value in enumerate(["quality", "bad", "=C3*2", 0.1 + 0.2], start=1):
        sheet.cell(row, 5).value = value
    sheet["E4"]._value = repr(0.1 + 0.2)  # openpyxl itself would write 16 digits
    sheet["E2"].comment = Comment("ask reader 2", "me")
    sheet["E2"].fill = PatternFill("solid", fgColor="FFFF00")


def aside(layout: Layout) -> list[str]:
    return sorted(
        p.relative_to(layout.replaced).as_posix() for p in layout.replaced.rglob("*.xlsx")
    )


# ---------------------------------------------------------------- what stays


def test_columns_follow_their_samples(layout: Layout) -> None:
    edit(layout, add_column)
    assert put(layout, frame(D, C, B, A)) == []
    sheet = open_book(layout)["Manifest"]
    assert [cell.value for cell in sheet["A"]] == ["ID", D, C, B, A]
    assert [cell.value for cell in sheet["E"]] == ["quality", None, 0.1 + 0.2, "=C4*2", "bad"]
    assert sheet["E5"].comment.text == "ask reader 2"
    assert sheet["E5"].fill.fgColor.rgb == "00FFFF00"
    assert sheet["D2"].value == 0.1 + 0.2
    assert (sheet["B2"].value, sheet["B2"].data_type, sheet["B2"].number_format) == (
        "0007",
        "s",
        "@",
    )
    assert sheet.auto_filter.ref == "A1:E5"
    assert aside(layout) == []


def test_columns_stay_right_of_ours_when_these_become_more_or_others(layout: Layout) -> None:
    def add(book: Any) -> None:
        for row, value in enumerate(["quality", "bad", "good"], start=1):
            book["Manifest"].cell(row, 5).value = value

    edit(layout, add)
    assert put(layout, frame(A, B, C, mask=None).drop(columns="seq").assign(more=1)) == []
    sheet = open_book(layout)["Manifest"]
    header = [cell.value for cell in sheet[1]]
    assert header == ["ID", "n", "v", "mask", "more", "quality"]
    assert [cell.value for cell in sheet["F"]] == ["quality", "bad", "good", None]


def test_a_column_among_ours_goes_right_of_them(layout: Layout) -> None:
    def insert(book: Any) -> None:
        book["Manifest"].insert_cols(2)
        book["Manifest"]["B1"], book["Manifest"]["B3"] = "mine", "yes"

    edit(layout, insert)
    assert put(layout, frame(A, B, C, D)) == []
    rows = read_sheet(layout.root / NAME, "Manifest")
    assert list(rows) == ["ID", "seq", "n", "v", "mine"]
    assert rows["mine"].tolist() == [None, "yes", None, None]


def test_other_worksheets_and_notes_without_a_header_stay(layout: Layout) -> None:
    def add(book: Any) -> None:
        notes = book.create_sheet("my review", 0)
        notes["A1"], notes["B2"] = 1.5, "=Manifest!C2"
        notes["A1"]._value = repr(0.1 + 0.2)
        book["Manifest"]["G3"] = "look at this one again"
        book["Manifest"]["A3"].comment = Comment("mine", "me")

    edit(layout, add)
    assert put(layout, frame(D, A, B)) == ["replaced"]  # the formula speaks of another row now
    book = open_book(layout)
    assert book.sheetnames == ["my review", "Manifest", "Columns"]
    assert (book["my review"]["A1"].value, book["my review"]["B2"].value) == (
        0.1 + 0.2,
        "=Manifest!C2",
    )
    assert book["Manifest"]["G4"].value == "look at this one again"
    assert book["Manifest"]["A4"].comment.text == "mine"


def test_nothing_is_written_when_ours_says_the_same(layout: Layout) -> None:
    def touch(book: Any) -> None:
        add_column(book)
        rows = list(book["Manifest"].iter_rows(min_row=2, values_only=True))
        for number, row in enumerate(reversed(rows), start=2):  # somebody sorted them
            for column, value in enumerate(row, start=1):
                book["Manifest"].cell(number, column).value = value

    edit(layout, touch)
    before = (layout.root / NAME).read_bytes()
    for _ in range(2):
        assert put(layout, FIRST) == []
        assert (layout.root / NAME).read_bytes() == before


def test_what_is_as_we_wrote_it_is_not_opened(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(layout, add_column)
    put(layout, FIRST)

    def refuse(*words: Any, **options: Any) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("amos_dask.tables.workbook.load_workbook", refuse)
    assert put(layout, FIRST) == []
    assert find_altered_files(OwnFiles(layout), [NAME]) == []


def test_a_column_stays_over_many_runs(layout: Layout) -> None:
    edit(layout, add_column)
    for ids in ((A, B, C, D), (D, C, A), (A, C), (A, B, C, D)):
        assert put(layout, frame(*ids)) == [] or B not in ids
    sheet = read_sheet(layout.root / NAME, "Manifest")
    assert dict(zip(sheet["ID"], sheet["quality"], strict=True))[A] == "bad"


# ---------------------------------------------------------------- looks, links, Columns


def samples(layout: Layout, *ids: str) -> pd.DataFrame:
    """Return a manifest of samples whose folders are there."""
    rows = []
    for name in ids:
        folder = f"AMOS-CT/train/A #1/{name}_F"
        (layout.grouped / folder).mkdir(parents=True, exist_ok=True)
        rows.append((name, f"{folder}/{name}_info.yaml", 0.1 + 0.2))
    return pd.DataFrame(rows, columns=["ID", "info", "spx"], dtype=object)


YELLOW = PatternFill("solid", fgColor="FFFF00")


def as_of_an_earlier_version(book: Any) -> None:
    """Take everything from a workbook that is there for people's eyes."""
    del book["Columns"]
    for row in book["Manifest"].iter_rows(min_row=2):
        for cell in row:
            cell.hyperlink, cell.font = None, copy(book._fonts[0])
            cell.number_format = "@" if cell.data_type == "s" else "General"


@pytest.mark.parametrize("is_earlier", [True, False])
def test_colours_and_links_of_people_stay_and_ours_are_renewed(
    layout: Layout, *, is_earlier: bool
) -> None:
    put(layout, samples(layout, A, B, C))

    def colour(book: Any) -> None:
        if is_earlier:
            as_of_an_earlier_version(book)
        sheet = book["Manifest"]
        for place in ("A2", "B2", "C2"):
            sheet[place].fill = YELLOW
        sheet["C3"].number_format = "0.0000000"
        sheet["A3"].hyperlink = "https://example.org/amos_0004"

    edit(layout, colour)
    assert put(layout, samples(layout, D, B, A)) == []  # C is gone, and nobody's loss
    book = open_book(layout)
    assert book.sheetnames == ["Manifest", "Columns"]
    sheet = book["Manifest"]
    assert [cell.value for cell in sheet["C"]] == ["spx", *[0.1 + 0.2] * 3]
    assert [cell.number_format for cell in sheet["C"]][1:] == ["0.000", "0.0000000", "0.000"]
    assert [cell.fill == YELLOW for cell in sheet[4]] == [True] * 3
    assert not any(cell.fill == YELLOW for row in sheet["A1:C3"] for cell in row)
    targets = [[cell.hyperlink.target for cell in sheet[c][1:]] for c in "AB"]
    folders = [f"AMOS-CT/train/A%20%231/{name}_F" for name in (D, B, A)]
    assert targets[0] == [folders[0], "https://example.org/amos_0004", folders[2]]
    assert targets[1] == [f"{f}/{n}_info.yaml" for f, n in zip(folders, (D, B, A), strict=True)]
    assert all(cell.font.underline == "single" for row in sheet["A2:B4"] for cell in row)


def test_colours_that_lose_their_row_are_kept_in_a_copy(layout: Layout) -> None:
    keyless = FIRST.drop(columns="ID")
    put(layout, keyless, name="grouped/keyless.xlsx")

    def colour(book: Any) -> None:
        book["Manifest"]["A3"].fill = YELLOW

    edit(layout, colour, name="grouped/keyless.xlsx")
    assert put(layout, keyless.assign(n=7), name="grouped/keyless.xlsx") == ["replaced"]
    edit(layout, colour)  # the row of B
    assert put(layout, frame(A, C)) == ["replaced"]
    assert [name.partition("/")[2] for name in aside(layout)] == [
        "grouped/keyless.xlsx",
        "grouped/book.xlsx",
    ]


def test_heights_and_rules_of_rows_do_not_go_to_another_sample(layout: Layout) -> None:
    def raise_row(book: Any) -> None:
        book["Manifest"].row_dimensions[2].height = 50

    edit(layout, raise_row)
    assert put(layout, frame(D, A, B, C)) == []
    sheet = open_book(layout)["Manifest"]
    assert [sheet.row_dimensions[row].height for row in (2, 3)] == [None, 50]
    rule = CellIsRule(operator="equal", formula=["1"], fill=YELLOW)

    def rule_all(book: Any) -> None:
        book["Manifest"].conditional_formatting.add("C2:C1000", rule)

    edit(layout, rule_all)
    assert put(layout, frame(A, B, C)) == []

    def rule_row(book: Any) -> None:
        book["Manifest"].conditional_formatting.add("C3", rule)

    edit(layout, rule_row)
    assert put(layout, frame(D, A, B, C)) == ["replaced"]


def test_links_of_an_index_lead_up_to_the_samples(layout: Layout) -> None:
    name = "grouped/splits/split01/index.xlsx"
    (layout.root / name).parent.mkdir(parents=True)
    put(layout, samples(layout, A), name=name)
    cell = open_book(layout, name)["Manifest"]["A2"]
    assert cell.value == A
    assert cell.hyperlink.target == f"../../AMOS-CT/train/A%20%231/{A}_F"


def test_links_lead_nowhere_where_there_are_no_samples(layout: Layout) -> None:
    put(layout, pd.DataFrame({"ID": [A], "info": ["C:/x/y_info.yaml"]}, dtype=object))
    assert open_book(layout)["Manifest"]["A2"].hyperlink is None


def test_columns_says_what_they_are_and_goes_with_them(layout: Layout) -> None:
    rows = read_sheet(layout.root / NAME, "Columns").to_dict("records")
    assert [row["column"] for row in rows] == ["ID", "seq"]  # the others are not known
    assert all(row["worksheet"] == "Manifest" and row["meaning"] for row in rows)
    put(layout, FIRST.assign(spx=1.5))
    assert read_sheet(layout.root / NAME, "Columns")["column"].tolist() == ["ID", "seq", "spx"]


def test_a_worksheet_in_place_of_our_columns_stays(layout: Layout) -> None:
    def replace_it(book: Any) -> None:
        del book["Columns"]
        book.create_sheet("Columns")["A1"] = "precious"

    edit(layout, replace_it)
    for ids in ((A, B), (B, C)):
        put(layout, frame(*ids))
        assert open_book(layout)["Columns"]["A1"].value == "precious"


@pytest.mark.parametrize("title", ["Columns", "columns"])
def test_a_worksheet_of_that_name_of_somebody_elses_stays(layout: Layout, title: str) -> None:
    def replace_ours(book: Any) -> None:
        del book["Columns"]
        book.create_sheet(title).append(["mine", "=1+1"])

    with OwnFiles(layout) as own:  # as a version that knew of none has left it
        known = own.files[layout.root / NAME]
        sheets = {"Manifest": known.sheets["Manifest"]}
        edit(layout, replace_ours)
        own.note(layout.root / NAME, replace(known, sheets=sheets, is_shared=True))
    for ids in ((A, B, C), (A, B, C, D), (D, A)):
        assert put(layout, frame(*ids)) == []
        book = open_book(layout)
        assert book.sheetnames == ["Manifest", title]
        assert [cell.value for cell in book[title][1]] == ["mine", "=1+1"]
        assert find_altered_files(OwnFiles(layout), [NAME]) == []
    assert aside(layout) == []


# ---------------------------------------------------------------- what is set aside first


def edit_ours(book: Any) -> None:
    book["Manifest"]["C2"] = 99


def replace_ours_by_a_formula(book: Any) -> None:
    book["Manifest"]["C2"] = "=1"


def remove_a_column(book: Any) -> None:
    book["Manifest"].delete_cols(2)


def add_a_row(book: Any) -> None:
    book["Manifest"].append(["total", None, "=SUM(C2:C4)"])


def note_on_a_row_that_goes(book: Any) -> None:
    book["Manifest"]["E4"] = "this one is gone now"


def add_a_chart(book: Any) -> None:
    chart = BarChart()
    chart.add_data(Reference(book["Manifest"], min_col=3, min_row=1, max_row=4))
    book.create_sheet("chart").add_chart(chart, "A1")


def merge_cells(book: Any) -> None:
    book["Manifest"].merge_cells("E2:F3")


@pytest.mark.parametrize(
    "change",
    [
        edit_ours,
        replace_ours_by_a_formula,
        remove_a_column,
        add_a_row,
        note_on_a_row_that_goes,
        add_a_chart,
        merge_cells,
    ],
)
def test_what_would_be_lost_is_set_aside(layout: Layout, change: Callable[[Any], None]) -> None:
    edit(layout, change)
    before = (layout.root / NAME).read_bytes()
    assert put(layout, frame(A, B, D)) == ["replaced"]
    assert (layout.replaced / "1" / NAME).read_bytes() == before
    rows = read_sheet(layout.root / NAME, "Manifest")
    assert rows[["ID", "seq", "n", "v"]].equals(frame(A, B, D))
    assert put(layout, frame(A, B, D)) == []
    assert aside(layout) == [f"1/{NAME}"]


@pytest.mark.parametrize("change", [CellIsRule, Table, None], ids=["rule", "table", "formula"])
def test_ranges_that_would_point_elsewhere_are_set_aside(layout: Layout, change: Any) -> None:
    def add(book: Any) -> None:
        sheet = book["Manifest"]
        sheet["E1"], sheet["E2"] = "mine", "=C2" if change is None else "x"
        if change is CellIsRule:
            sheet.conditional_formatting.add("C2:C4", CellIsRule("greaterThan", ["1"]))
        if change is Table:
            sheet.auto_filter.ref = None
            sheet.add_table(Table(displayName="T", ref="A1:E4"))

    edit(layout, add)
    assert put(layout, frame(A, B, C, D)) == []  # the same columns
    assert put(layout, frame(A, B, C, D, more=1)) == ["replaced"]
    assert list(read_sheet(layout.root / NAME, "Manifest"))[-1] == "mine"
    open_book(layout)


def point_with_a_formula(book: Any) -> None:
    book.create_sheet("mine")["B2"] = "=Manifest!C3"


def point_with_a_name(book: Any) -> None:
    book.defined_names["first"] = DefinedName("first", attr_text="'Manifest'!$A$2")


@pytest.mark.parametrize("change", [point_with_a_formula, point_with_a_name])
def test_what_points_to_rows_that_move_is_set_aside(layout: Layout, change: Any) -> None:
    edit(layout, change)
    assert put(layout, frame(A, B, C, D)) == []  # no row has moved
    assert put(layout, frame(A, C, D)) == ["replaced"]
    assert aside(layout) == [f"1/{NAME}"]


def test_worksheets_without_a_key_keep_nothing_beside_ours(layout: Layout) -> None:
    regions = frame(A, A, B)
    put(layout, FIRST, regions)
    edit(layout, lambda book: book.create_sheet("mine"))
    assert put(layout, FIRST, frame(A, A, D)) == []
    assert open_book(layout).sheetnames == ["Manifest", "Second", "Columns", "mine"]
    edit(layout, lambda book: book["Second"].cell(2, 6).__setattr__("value", "seen"))
    assert put(layout, FIRST, frame(A, D, D)) == ["replaced"]
    assert open_book(layout).sheetnames == ["Manifest", "Second", "Columns", "mine"]
    assert len(aside(layout)) == 1


def test_values_that_formulas_had_are_set_aside(layout: Layout) -> None:
    def with_values(book: Any) -> None:
        book["Manifest"]["E1"], book["Manifest"]["E2"] = "double", "=C2*2"

    edit(layout, with_values)
    path = layout.root / NAME
    with zipfile.ZipFile(path) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    part = "xl/worksheets/sheet1.xml"
    for empty in (b"<v />", b"<v/>", b"<v></v>"):
        content[part] = content[part].replace(b"<f>C2*2</f>" + empty, b"<f>C2*2</f><v>2</v>")
    assert b"<v>2</v>" in content[part]
    with zipfile.ZipFile(path, "w") as parts:
        for name, data in content.items():
            parts.writestr(name, data)
    assert put(layout, frame(A, B, C, D)) == ["replaced"]
    assert open_book(layout)["Manifest"]["E2"].value == "=C2*2"


# ---------------------------------------------------------------- what stays as it is


@pytest.mark.parametrize("lock", ["~$book.xlsx", ".~lock.book.xlsx#"])
def test_a_workbook_that_is_open_elsewhere_stays(layout: Layout, lock: str) -> None:
    edit(layout, add_column)
    before = (layout.root / NAME).read_bytes()
    (layout.grouped / lock).write_text("me")
    assert put(layout, FIRST) == []  # there is nothing to do
    assert put(layout, frame(A)) == ["workbook_locked"]
    assert (layout.root / NAME).read_bytes() == before
    with (
        pytest.raises(WorkbookLockedError, match="open in another program"),
        OwnFiles(layout) as own,
    ):
        put_workbook(own, layout.root / NAME, {"Manifest": frame(A)})
    (layout.grouped / lock).unlink()
    assert put(layout, frame(A, B, C, D)) == []
    assert aside(layout) == []


# The beginning of what Excel writes when a workbook gets a password.
ENCRYPTED = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)


@pytest.mark.parametrize("content", [ENCRYPTED, b"PK half", b""])
def test_a_workbook_that_cannot_be_read_stays(layout: Layout, content: bytes) -> None:
    path = layout.root / NAME
    path.write_bytes(content)
    assert put(layout, FIRST) == ["foreign_file"]
    assert path.read_bytes() == content
    assert [a.path for a in find_altered_files(OwnFiles(layout), [NAME])] == [NAME]
    assert put(layout, FIRST, adopt=True) == ["replaced"]
    assert (layout.replaced / "1" / NAME).read_bytes() == content
    assert read_sheet(path, "Manifest").equals(FIRST)


def test_a_workbook_of_somebody_elses_stays(layout: Layout) -> None:
    path = layout.root / "grouped/theirs.xlsx"
    book = Workbook()
    book.active.append(["mine"])
    book.save(path)
    before = path.read_bytes()
    assert put(layout, FIRST, name="grouped/theirs.xlsx") == ["foreign_file"]
    with pytest.raises(ForeignFileError, match="--adopt"), OwnFiles(layout) as own:
        put_workbook(own, path, {"Manifest": FIRST})
    assert path.read_bytes() == before
    assert put(layout, FIRST, name="grouped/theirs.xlsx", adopt=True) == ["replaced"]
    assert read_sheet(path, "Manifest").equals(FIRST)


def test_a_workbook_with_the_same_cells_is_taken_as_ours(layout: Layout) -> None:
    edit(layout, add_column)
    path = layout.root / NAME
    before = path.read_bytes()
    layout.own_files.unlink()
    assert put(layout, FIRST) == []
    assert path.read_bytes() == before
    assert put(layout, frame(A, B)) == ["replaced"]  # the formula's row is there, that of C is not
    assert read_sheet(path, "Manifest")["quality"].tolist() == ["bad", "=C3*2"]


@pytest.mark.parametrize("kind", ["folder", "link", "linked folder"])
def test_nothing_is_written_over_folders_and_links(
    layout: Layout, tmp_path: Path, kind: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    path = layout.grouped / "sub" / "b.xlsx"
    if kind == "linked folder":
        path.parent.symlink_to(other)
    else:
        path.parent.mkdir()
        path.mkdir() if kind == "folder" else path.symlink_to(layout.root / NAME)
    before = (layout.root / NAME).read_bytes()
    assert put(layout, frame(D), name="grouped/sub/b.xlsx") == ["foreign_file"]
    assert (layout.root / NAME).read_bytes() == before
    assert list(other.iterdir()) == []


def test_a_kill_while_it_is_set_aside_loses_nothing_and_shows_nowhere(layout: Layout) -> None:
    def change(book: Any) -> None:
        add_column(book)
        edit_ours(book)

    edit(layout, change)
    set_aside(layout, layout.root / NAME, leave=True)  # and killed
    assert put(layout, frame(A, B, C, D)) == ["replaced"]
    assert read_sheet(layout.root / NAME, "Manifest")["quality"].tolist()[0] == "bad"
    assert aside(layout) == [f"1/{NAME}"]


# ---------------------------------------------------------------- whatever people add

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6)
values = st.one_of(st.integers(-999, 999), st.floats(-1e9, 1e9), names, st.booleans())


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    columns=st.dictionaries(
        names.map(lambda n: f"my {n}"), st.lists(values, min_size=3), max_size=3
    ),
    orders=st.lists(st.permutations([A, B, C, D]), min_size=1, max_size=3),
    more=st.booleans(),
)
def test_whatever_people_add_is_there_afterwards(
    tmp_path_factory: pytest.TempPathFactory,
    columns: dict[str, list[Any]],
    orders: list[list[str]],
    more: bool,
) -> None:
    layout = Layout(tmp_path_factory.mktemp("any"))
    layout.grouped.mkdir()
    put(layout, FIRST)

    def add(book: Any) -> None:
        for place, (name, cells) in enumerate(columns.items(), start=5):
            for row, value in enumerate([name, *cells[:3]], start=1):
                book["Manifest"].cell(row, place).value = value

    edit(layout, add)
    saved = read_sheet(layout.root / NAME, "Manifest").set_index("ID")
    for number, order in enumerate(orders):
        put(layout, frame(*order, start=number, **({"extra": number} if more else {})))
    after = read_sheet(layout.root / NAME, "Manifest").set_index("ID")
    assert aside(layout) == []
    for name in columns:
        assert after.loc[[A, B, C], name].tolist() == saved.loc[[A, B, C], name].tolist()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_draft_gets_its_place_or_is_written_anew(layout: Layout, *, is_there: bool) -> None:
    sheets = {"Manifest": frame(A, D)}
    with OwnFiles(layout, is_run=True) as own:
        known = own.find_written(layout.root / NAME)
        tables = cells_of_sheets(layout.root, layout.root / NAME, sheets)
        drafted = write_draft(Draft(NAME, tables, known, layout.state))
        assert drafted.path is not None
        if not is_there:  # as where its place is on another disk, or a network disk is slow
            drafted.path.unlink()
        put_workbook(own, layout.root / NAME, sheets, drafted=drafted)
        again = own.find_written(layout.root / NAME)
        assert write_draft(Draft(NAME, tables, again, layout.state)).path is None
    assert own.issues() == []
    assert read_sheet(layout.root / NAME, "Manifest")["ID"].tolist() == [A, D]
    assert list(layout.root.rglob("*.part~")) == []
