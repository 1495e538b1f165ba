"""Workbooks: what goes in comes out, text stays text, and nothing is ever half written."""

from __future__ import annotations

import datetime
import gc
import math
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet
from roots import write_workbook

from amos_dask.errors import ManifestError
from amos_dask.root import staging
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles
from amos_dask.tables import new_workbook
from amos_dask.tables.cells import LARGEST_CELL, cells_of
from amos_dask.tables.new_workbook import find_links, save_workbook
from amos_dask.tables.own_workbooks import add_worksheets
from amos_dask.tables.workbook import (
    add_table,
    read_sheet,
    require_columns,
    sheet_names,
)

REPLACEMENT = "\ufffd"
few_examples = settings(
    max_examples=15,
    phases=(Phase.explicit, Phase.generate),  # shrinking would write hundreds of workbooks
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# XML turns a carriage return into a line feed; a blank cell and an empty text are the same.
texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\r"), min_size=1, max_size=30
)
formula_like = st.builds("".join, st.tuples(st.sampled_from("=+-@"), texts))
spreadsheet_words = st.sampled_from(
    ["#N/A", "#REF!", "TRUE", "0001", "1e5", "062Y", "20200131", "=1+1", "=HYPERLINK(1)", "_x0041_",
     " padded ", "\tTab", "two\nlines", "Ärztin 北京 😀", "nan", "None"]
)  # fmt: skip
# Whole numbers beyond 2**53 are not what Excel can hold.
integers = st.integers(-(2**53), 2**53)
floats = st.floats(-1e300, 1e300)
spacings = st.floats(allow_nan=False, allow_infinity=False, width=32).map(
    lambda x: float(f"{x:.9g}")
)
missing = st.sampled_from([None, math.nan, pd.NA, pd.NaT, np.float32("nan")])
cells = st.one_of(st.just(""), texts, formula_like, spreadsheet_words, integers, spacings, missing)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    names = draw(st.lists(st.one_of(formula_like, texts), min_size=1, max_size=4, unique=True))
    names = list(dict.fromkeys(printable(name) for name in names))
    rows = draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=25))
    return pd.DataFrame(rows, columns=names, dtype=object)


def printable(text: str) -> str:
    """Return what the format can hold of a text: controls that XML lacks are marked."""
    allowed = "\t\n"
    return "".join(
        REPLACEMENT if (ord(c) < 32 and c not in allowed) or c in "\ufffe\uffff" else c
        for c in text
    )


def expected(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value) or None
    return None if pd.isna(value) else value


def open_sheet(path: Path, title: str = "Manifest") -> Worksheet:
    sheet = openpyxl.load_workbook(path)[title]
    assert isinstance(sheet, Worksheet)
    return sheet


def write_one(path: Path, values: list[Any], title: str = "Manifest") -> pd.DataFrame:
    frame = pd.DataFrame({"value": pd.Series(values, dtype=object), "row": range(len(values))})
    write_workbook(path, {title: frame})
    return frame


def update_workbook(path: Path, sheets: dict[str, pd.DataFrame]) -> None:
    """Write worksheets into a workbook that is there."""
    with OwnFiles(Layout(path.parent)) as own:
        add_worksheets(own, path, sheets)


def put_beside_another(path: Path, sheets: dict[str, pd.DataFrame]) -> None:
    """Write worksheets the other way: into a workbook that somebody else made."""
    other = openpyxl.Workbook()
    other.active.title = "Notes"
    other.save(path)
    other.close()
    update_workbook(path, sheets)


WRITERS = [write_workbook, put_beside_another]
both_ways = pytest.mark.parametrize("write", WRITERS, ids=["new", "beside another sheet"])
Writer = Callable[[Path, dict[str, pd.DataFrame]], None]


@both_ways
@few_examples
@given(frame=frames())
def test_every_cell_comes_back(write: Writer, frame: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "book.xlsx")
        write(path, {"Manifest": frame})
        read = read_sheet(path, "Manifest")
    assert list(read.columns) == list(frame.columns)
    wanted = [[expected(value) for value in row] for row in frame.itertuples(index=False)]
    # openpyxl does not report rows at the end that are blank from side to side
    while wanted and all(value is None for value in wanted[-1]):
        wanted.pop()
    found = [list(row) for row in read.itertuples(index=False)]
    while found and all(value is None for value in found[-1]):
        found.pop()
    assert found == wanted


@both_ways
@few_examples
@example(values=[0.1 + 0.2, 1 / 3])
@given(values=st.lists(st.one_of(integers, floats), min_size=1, max_size=60))
def test_numbers_come_back_exactly_and_as_numbers(write: Writer, values: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "book.xlsx")
        write(path, {"Manifest": pd.DataFrame({"n": pd.Series(values, dtype=object)})})
        sheet = open_sheet(path)
        found = [sheet.cell(row, 1) for row in range(2, len(values) + 2)]
        assert [cell.value for cell in found] == values
        assert {cell.data_type for cell in found} == {"n"}


@both_ways
@few_examples
@given(values=st.lists(st.one_of(texts, formula_like, spreadsheet_words), min_size=1, max_size=60))
def test_text_cells_are_text_whatever_they_look_like(write: Writer, values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "book.xlsx")
        write(path, {"Manifest": pd.DataFrame({"=head": pd.Series(values, dtype=object)})})
        sheet = open_sheet(path)
        found = [sheet.cell(row, 1) for row in range(2, len(values) + 2)]
    # openpyxl calls text from a file s, and inlineStr when it was streamed
    assert {cell.data_type for cell in found} <= {"s", "inlineStr"}
    assert {cell.number_format for cell in found} == {"@"}
    assert sheet["A1"].data_type in ("s", "inlineStr")
    assert sheet["A1"].value == "=head"


@both_ways
def test_no_formula_reaches_the_file(write: Writer, tmp_path: Path) -> None:
    values = ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0"]
    path = tmp_path / "book.xlsx"
    write(path, {"Manifest": pd.DataFrame({"=A1": pd.Series(values, dtype=object)})})
    with zipfile.ZipFile(path) as parts:
        sheets = [name for name in parts.namelist() if name.startswith("xl/worksheets/")]
        assert sheets
        assert all(b"<f" not in parts.read(name) for name in sheets)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1.5, None], dtype="Float64"),
        pd.Series([1.5, math.nan], dtype="float32"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(["a", None], dtype="str"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series([np.int64(7), np.float32("nan")], dtype=object),
        pd.Series([1.0, math.inf]),
    ],
    ids=lambda series: str(series.dtype),
)
def test_missing_values_of_every_column_type_are_blank(
    series: pd.Series[Any], tmp_path: Path
) -> None:
    write_workbook(tmp_path / "book.xlsx", {"Manifest": pd.DataFrame({"v": series, "end": "x"})})
    first, second = read_sheet(tmp_path / "book.xlsx", "Manifest")["v"]
    assert first == series[0]
    assert second is None


def test_missing_numbers_leave_no_cell_behind(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write_one(path, [None, math.nan, pd.NA])
    assert [open_sheet(path).cell(row, 1).value for row in (2, 3, 4)] == [None, None, None]


@both_ways
def test_text_of_40000_characters_is_kept_as_far_as_excel_goes(
    write: Writer, tmp_path: Path
) -> None:
    path = tmp_path / "book.xlsx"
    long = "".join(chr(ord("a") + i % 26) for i in range(40_000))
    write(path, {"Manifest": pd.DataFrame({"v": [long, long[:LARGEST_CELL]]})})
    assert list(read_sheet(path, "Manifest")["v"]) == [long[:32_767]] * 2


def test_control_characters_are_marked_not_dropped(tmp_path: Path) -> None:
    write_one(tmp_path / "book.xlsx", ["a\x00b\x1fc", "tab\tand\nline"])
    found = list(read_sheet(tmp_path / "book.xlsx", "Manifest")["value"])
    assert found == [f"a{REPLACEMENT}b{REPLACEMENT}c", "tab\tand\nline"]


@both_ways
def test_header_is_bold_frozen_and_filtered(write: Writer, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write(path, {"Manifest": pd.DataFrame({"ID": ["amos_0001", "amos_0004"], "n": [1, 2]})})
    sheet = open_sheet(path)
    assert sheet.freeze_panes is not None
    assert sheet[sheet.freeze_panes].row == 2  # the row below the header stays in place
    assert all(cell.font.bold for cell in sheet[1])
    assert not any(cell.font.bold for cell in sheet[2])
    assert sheet.auto_filter.ref == "A1:B3"


@both_ways
def test_columns_are_wide_enough_to_read_and_never_wider_than_a_screen(
    write: Writer, tmp_path: Path
) -> None:
    path = tmp_path / "book.xlsx"
    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "manufacturer_model_name": ["a", "b"],
            "scanner": ["Aquilion ONE 320", None],
            "transform": ["x" * 400, "y"],
            "blank": [None, None],
        }
    )
    write(path, {"Manifest": frame})
    dimensions = open_sheet(path).column_dimensions
    widths = [dimensions[letter].width for letter in "ABCDE"]
    assert all(8 <= width <= 60 for width in widths)
    assert widths[1] > len("manufacturer_model_name")
    assert widths[2] > len("Aquilion ONE 320")
    assert widths[3] == max(widths)
    assert widths[0] < 15


@both_ways
def test_a_frame_without_rows_keeps_its_header(write: Writer, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write(path, {"Regions": pd.DataFrame(columns=["ID", "n_voxels"])})
    read = read_sheet(path, "Regions")
    assert list(read.columns) == ["ID", "n_voxels"]
    assert len(read) == 0


def test_worksheets_come_in_the_order_given(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    frame = pd.DataFrame({"a": [1]})
    write_workbook(path, {"Manifest": frame, "Regions": frame, "A": frame})
    assert sheet_names(path) == ["Manifest", "Regions", "A"]


@pytest.mark.filterwarnings("error::DeprecationWarning")
@both_ways
def test_rows_that_end_in_blanks_are_read_without_a_warning(write: Writer, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write(path, {"Manifest": pd.DataFrame({"a": ["x", "y"], "b": [1, None], "c": [None, None]})})
    read = read_sheet(path, "Manifest")
    assert read.to_numpy().tolist() == [["x", 1, None], ["y", None, None]]


def test_notes_beside_the_table_do_not_keep_a_sheet_from_being_copied(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write_one(path, ["a", "b"])
    book = openpyxl.load_workbook(path)
    book["Manifest"]["E2"] = "look at this one again"
    book.save(path)
    book.close()
    update_workbook(path, {"copy": read_sheet(path, "Manifest")})
    copy = read_sheet(path, "copy")
    assert copy["value"].tolist() == ["a", "b"]
    assert list(copy.columns) == list(read_sheet(path, "Manifest").columns)  # the table alone
    assert openpyxl.load_workbook(path)["Manifest"]["E2"].value == "look at this one again"


def cells_seen(sheet: Worksheet) -> list[list[Any]]:
    return [
        [
            (cell.value, cell.number_format, cell.font.u, cell.fill.fgColor.rgb)
            + ((cell.hyperlink.target, cell.hyperlink.ref) if cell.hyperlink else ())
            for cell in row
        ]
        for row in sheet.iter_rows()
    ]


def test_both_ways_look_alike(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "ID": ["amos_0001", "amos_0002"],
            "info": ["ct/ä & <b>/1.yaml", None],
            "mask": ["ct/ä & <b>/m.nii.gz", "=x"],
            "spx": [0.1 + 0.2, 1],
            "n_voxels": [123456, None],
            "severity": ["error", "info"],
            "v": [0.5, 2],
        },
        dtype=object,
    )
    table = cells_of(frame)._replace(links_from="../")
    save_workbook(tmp_path / "a.xlsx", {"Manifest": table})
    book = openpyxl.Workbook()
    add_table(book, "Manifest", table)
    book.save(tmp_path / "b.xlsx")
    one, other = (cells_seen(open_sheet(tmp_path / name)) for name in ("a.xlsx", "b.xlsx"))
    assert one == other
    formats = [cell[1] for cell in one[1]]
    assert formats == ["@", "@", "@", "0.000", "#,##0", "@", "General"]
    assert one[1][0][4:] == ("../ct/%C3%A4%20%26%20%3Cb%3E", "A2")
    assert [len(cell) for cell in one[2]] == [4, 4, 6, 4, 4, 4, 4]
    assert one[1][5][3] != one[2][5][3]  # an error is marked


def test_there_are_no_more_links_than_excel_takes() -> None:
    columns = ["ID", "info", "mask"]
    assert [len(find_links(columns, n)) for n in (1, 21_843, 21_844, 65_530, 65_531)] == [
        *(3, 3, 1, 1, 0)
    ]


# ---------------------------------------------------------------- into a workbook that is there


def test_update_keeps_what_others_put_into_the_workbook(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write_one(path, ["=1+1", "0001", 0.1, None])
    book = openpyxl.load_workbook(path)
    notes = book.create_sheet("Notes", 0)
    notes["A1"], notes["B2"] = "=1+1", 0.1
    notes.column_dimensions["A"].width = 33
    book.save(path)
    book.close()
    update_workbook(path, {"split01": pd.DataFrame({"a": ["x"]})})
    assert sheet_names(path) == ["Notes", "Manifest", "split01"]
    kept = open_sheet(path, "Notes")
    assert (kept["A1"].value, kept["A1"].data_type) == ("=1+1", "f")  # their formula
    assert kept["B2"].value == 0.1
    assert kept.column_dimensions["A"].width == 33
    ours = open_sheet(path)
    assert (ours["A2"].value, ours["A2"].data_type) == ("=1+1", "s")  # our text
    assert [ours.cell(row, 1).value for row in range(2, 6)] == ["=1+1", "0001", 0.1, None]
    assert ours["A3"].number_format == "@"
    assert ours.freeze_panes == "B2"


def test_update_replaces_a_worksheet_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    old = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    write_workbook(path, {"first": old, "second": old, "third": old})
    update_workbook(path, {"second": pd.DataFrame({"b": ["new"], "a": ["newer"]})})
    assert sheet_names(path) == ["first", "second", "third"]
    assert read_sheet(path, "second").to_dict("list") == {"b": ["new"], "a": ["newer"]}
    assert read_sheet(path, "third")["b"].tolist() == [4, 5, 6]


def test_update_replaces_a_worksheet_whose_title_differs_in_case_only(tmp_path: Path) -> None:
    # Excel does not tell such titles apart: a workbook cannot hold both.
    path = tmp_path / "book.xlsx"
    old = pd.DataFrame({"a": [1]})
    write_workbook(path, {"Manifest": old, "Split01": old})
    update_workbook(path, {"split01": pd.DataFrame({"a": [2]})})
    assert sheet_names(path) == ["Manifest", "split01"]
    assert read_sheet(path, "split01")["a"].tolist() == [2]


# ---------------------------------------------------------------- bad workbooks


def valid_workbook(path: Path) -> bytes:
    write_workbook(path, {"Manifest": pd.DataFrame({"ID": [f"amos_{i:04d}" for i in range(500)]})})
    return path.read_bytes()


def with_part(path: Path, part: str, content: bytes) -> None:
    """Replace one file inside an .xlsx."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    assert part in parts
    with zipfile.ZipFile(path, "w") as book:
        for name, old in parts.items():
            book.writestr(name, content if name == part else old)


def make_absent(path: Path) -> None:
    path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def make_text_file(path: Path) -> None:
    path.write_text("ID,seq\namos_0001,0001\n")


def make_other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("hello.txt", "hello")


def cut_the_end(path: Path) -> None:
    content = valid_workbook(path)
    path.write_bytes(content[: len(content) // 2])


def damage_the_zip(path: Path) -> None:
    valid_workbook(path)
    with zipfile.ZipFile(path) as book:
        start = book.getinfo("xl/worksheets/sheet1.xml").header_offset
    content = bytearray(path.read_bytes())
    content[start + 100 : start + 300] = bytes(200)
    path.write_bytes(content)


def damage_the_book_xml(path: Path) -> None:
    valid_workbook(path)
    with_part(path, "xl/workbook.xml", b"<workbook><unclosed")


def damage_the_sheet_xml(path: Path) -> None:
    valid_workbook(path)
    with_part(path, "xl/worksheets/sheet1.xml", b"<worksheet><unclosed")


BAD = [make_absent, make_folder, make_empty_file, make_text_file, make_other_zip, cut_the_end,
       damage_the_zip, damage_the_book_xml, damage_the_sheet_xml]  # fmt: skip


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make_bad", BAD, ids=lambda make: make.__name__)
def test_reading_a_bad_workbook_is_a_manifest_error_that_names_it(
    make_bad: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "bad book.xlsx"
    make_bad(path)
    with pytest.raises(ManifestError) as caught:
        read_sheet(path, "Manifest")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make_bad", BAD[1:], ids=lambda make: make.__name__)
def test_updating_a_bad_workbook_is_a_manifest_error_and_leaves_it(
    make_bad: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "bad book.xlsx"
    make_bad(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ManifestError) as caught:
        update_workbook(path, {"split01": pd.DataFrame({"a": [1]})})
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_worksheet_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    frame = pd.DataFrame({"a": [1]})
    write_workbook(path, {"Manifest": frame, "Regions": frame})
    with pytest.raises(ManifestError, match=r"'split01'.*Manifest, Regions") as caught:
        read_sheet(path, "split01")
    assert str(path) in str(caught.value)


def test_an_empty_worksheet_is_a_manifest_error(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    book = openpyxl.Workbook()
    book.active.title = "Manifest"
    book.save(path)
    book.close()
    with pytest.raises(ManifestError, match="empty") as caught:
        read_sheet(path, "Manifest")
    assert str(path) in str(caught.value)


def test_a_missing_column_is_named_with_the_file(tmp_path: Path) -> None:
    frame = pd.DataFrame({"ID": ["amos_0001"]})
    require_columns(frame, ("ID",), tmp_path)
    with pytest.raises(ManifestError, match="'subset'") as caught:
        require_columns(frame, ("ID", "subset", "seq"), tmp_path / "book.xlsx")
    assert str(tmp_path / "book.xlsx") in str(caught.value)


# ---------------------------------------------------------------- all or nothing

FULL = OSError(28, "No space left on device")


def break_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    close = zipfile.ZipFile.close

    def half(book: zipfile.ZipFile) -> None:
        is_written = book.mode == "w" and book.filename is not None
        close(book)
        if is_written:
            Path(str(book.filename)).write_bytes(b"PK half")
            raise FULL

    monkeypatch.setattr(zipfile.ZipFile, "close", half)


def break_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr(staging.os, "fsync", full)


def break_renaming(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, target: Path) -> Path:
        raise FULL

    monkeypatch.setattr(Path, "replace", full)


def forget_unfinished_workbooks() -> None:
    """Collect the streams that openpyxl leaves open when a workbook is given up."""
    gc.collect()


gives_up = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@gives_up
@pytest.mark.parametrize("breakage", [break_saving, break_flushing, break_renaming])
@pytest.mark.parametrize("write", [write_workbook, update_workbook])
def test_a_failed_write_leaves_the_old_workbook_and_nothing_else(
    write: Writer,
    breakage: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "book.xlsx"
    before = valid_workbook(path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        breakage(monkeypatch)
        with pytest.raises(OSError, match="No space left"):
            write(path, {"split01": pd.DataFrame({"a": [1]})})
    forget_unfinished_workbooks()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["book.xls", "book.csv", "book.xlsx.bak", "book"])
def test_what_is_no_workbook_by_its_name_is_not_written_into(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    before = valid_workbook(tmp_path / "book.xlsx")
    path.write_bytes(before)
    own = OwnFiles(Layout(tmp_path / "root"))
    with pytest.raises(ManifestError, match=f"{name}: no Excel workbook, by its name"):
        add_worksheets(own, path, {"split01": pd.DataFrame({"a": [1]})})
    assert path.read_bytes() == before


class Interrupted:
    """A value in the middle of which Ctrl-C is pressed."""

    def __float__(self) -> float:
        raise KeyboardInterrupt


@gives_up
@pytest.mark.parametrize("n_rows", [3, 1500])
def test_an_interrupted_write_is_quiet_and_leaves_the_old_workbook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    path = tmp_path / "book.xlsx"
    before = valid_workbook(path)
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    frame = pd.DataFrame({"ID": pd.Series(["x"] * n_rows + [Interrupted()], dtype=object)})
    with pytest.raises(KeyboardInterrupt):
        write_workbook(path, {"Manifest": frame[:n_rows], "Regions": frame})
    gc.collect()  # an unclosed worksheet would complain now, at the latest
    assert complaints == []
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


times = st.one_of(
    st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2090, 1, 1)),
    st.dates(datetime.date(1950, 1, 1), datetime.date(2090, 1, 1)),
    st.times(),
)


@few_examples
@given(frame=frames(), more=st.lists(times, max_size=3))
def test_a_new_workbook_is_the_one_that_openpyxl_alone_would_write(
    frame: pd.DataFrame, more: list[Any]
) -> None:
    sheets = {"Manifest": frame, "Times": pd.DataFrame({"time": pd.Series(more, dtype=object)})}
    with tempfile.TemporaryDirectory() as folder:
        path, reference = Path(folder, "new.xlsx"), Path(folder, "reference.xlsx")
        write_workbook(path, sheets)
        book = openpyxl.Workbook(write_only=True)
        for title, table in sheets.items():
            add_table(book, title, cells_of(table))
        book.save(reference)
        assert looks(path) == looks(reference)
        assert zipfile.ZipFile(path).namelist() == zipfile.ZipFile(reference).namelist()


def looks(path: Path) -> dict[str, Any]:
    """Return all that is to be seen of a workbook."""
    book = openpyxl.load_workbook(path)
    return {
        sheet.title: (
            [
                [(c.value, c.data_type, c.number_format, c.font.b, c.fill.fgColor.rgb) for c in row]
                for row in sheet.iter_rows()
            ],
            {key: (c.width, c.outlineLevel) for key, c in sheet.column_dimensions.items()},
            (sheet.sheet_properties.pageSetUpPr.fitToPage, sheet.page_setup.fitToHeight),
            (sheet.freeze_panes, sheet.auto_filter.ref, sheet.dimensions),
        )
        for sheet in book.worksheets
    }


def test_more_text_than_a_zip_entry_usually_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1 << 20)
    monkeypatch.setattr(new_workbook, "ZIP64_LIMIT", 1 << 20)
    path = tmp_path / "book.xlsx"
    values = ["&" * 1000 + str(n) for n in range(300)]
    write_one(path, values)
    assert read_sheet(path, "Manifest")["value"].tolist() == values


def test_halves_of_characters_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    write_one(path, ["a\ud800b", "\udcff"])
    assert read_sheet(path, "Manifest")["value"].tolist() == [f"a{REPLACEMENT}b", REPLACEMENT]


def test_a_value_that_no_cell_can_hold_leaves_the_old_workbook(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    before = valid_workbook(path)
    with pytest.raises(TypeError):
        write_workbook(path, {"Manifest": pd.DataFrame({"a": [object()]})})
    forget_unfinished_workbooks()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_longer_than_a_worksheet_goes_on_in_further_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("new_workbook", "workbook"):
        monkeypatch.setattr(f"amos_dask.tables.{module}.LARGEST_SHEET", 4)
    path = tmp_path / "long.xlsx"
    frame = pd.DataFrame({"n": range(8), "text": [f"row {n}" for n in range(8)]}, dtype=object)
    write_workbook(path, {"Manifest": frame, "Other": frame[:2]})
    assert sheet_names(path) == ["Manifest", "Manifest (2)", "Manifest (3)", "Other"]
    pd.testing.assert_frame_equal(read_sheet(path, "Manifest"), frame)
    pd.testing.assert_frame_equal(read_sheet(path, "Other"), frame[:2])


def test_further_worksheets_go_when_the_table_is_short_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("new_workbook", "workbook"):
        monkeypatch.setattr(f"amos_dask.tables.{module}.LARGEST_SHEET", 4)
    path = tmp_path / "long.xlsx"
    frame = pd.DataFrame({"n": range(8)}, dtype=object)
    write_workbook(path, {"Manifest": frame, "Mine": frame[:1]})
    update_workbook(path, {"Manifest": frame[:5]})
    assert sheet_names(path) == ["Manifest", "Manifest (2)", "Mine"]
    pd.testing.assert_frame_equal(read_sheet(path, "Manifest"), frame[:5])
    update_workbook(path, {"Manifest": frame[:1]})
    assert sheet_names(path) == ["Manifest", "Mine"]


def test_columns_of_files_fold_away_at_once(tmp_path: Path) -> None:
    names = ["ID", "info", "volume", "volume_00_FLAIR", "mask", "mask_01_liver",
             "mask_01_liver_existence", "szx"]  # fmt: skip
    frame = pd.DataFrame([["x"] * len(names)], columns=names)
    save_workbook(tmp_path / "b.xlsx", {"Manifest": cells_of(frame)})
    sheet = openpyxl.load_workbook(tmp_path / "b.xlsx")["Manifest"]
    levels = {
        sheet.cell(1, column).value: dimension.outlineLevel
        for dimension in sheet.column_dimensions.values()
        for column in range(dimension.min, dimension.max + 1)
    }
    assert [name for name in names if levels.get(name)] == names[1:6]
