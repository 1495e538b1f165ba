"""The metadata csv: forms that are read, rows that are chosen, and the MR offset."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.archive.metadata import MetadataTable, Rows, read_metadata
from amos_dask.datasets import AMOS22, number_seq
from amos_dask.errors import ArchiveError
from amos_dask.file_refs import file_ref
from amos_dask.issues import Issue
from amos_dask.records import Metadata

quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)

COLUMNS = [
    "amos_id",
    "Patient's Birth Date",
    "Patient's Sex",
    "Patient's Age",
    "Manufacturer's Model Name",
    "Manufacturer",
    "Acquisition Date",
    "Site",
]
FIELDS = {
    "Patient's Birth Date": "birth_date",
    "Patient's Sex": "sex",
    "Patient's Age": "age",
    "Manufacturer's Model Name": "manufacturer_model_name",
    "Manufacturer": "manufacturer",
    "Acquisition Date": "acquisition_date",
    "Site": "site",
}
ROW = ["1", "19630101", "F", "058Y", "Aquilion ONE", "TOSHIBA", "20210203", "LGPH"]
PARSED = Metadata(
    birth_date="19630101",
    sex="F",
    age="058Y",
    manufacturer_model_name="Aquilion ONE",
    manufacturer="TOSHIBA",
    acquisition_date="20210203",
    site="LGPH",
)


def table_text(*rows: list[str], columns: list[str] = COLUMNS, end: str = "\n") -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=end)
    writer.writerows([columns, *rows])
    return buffer.getvalue()


def row_of(amos_id: str = "1", **changes: str) -> list[str]:
    cells = dict(zip(COLUMNS, [amos_id, *ROW[1:]], strict=True))
    for column, field in FIELDS.items():
        cells[column] = changes.get(field, cells[column])
    return list(cells.values())


def read(folder: Path, content: str | bytes) -> tuple[dict[int, list[Metadata]], list[Issue]]:
    path = folder / "labeled_data_meta_0000_0599.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table, issues = read_metadata(file_ref(path, path.name), AMOS22)
    return {int(seq): rows for seq, rows in table.rows.items()}, issues


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(ArchiveError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert "labeled_data_meta_0000_0599.csv" in message
    return message


# ---------------------------------------------------------------- forms that are read


@pytest.mark.parametrize(
    "content",
    [
        table_text(ROW),
        table_text(ROW, end="\r\n"),
        table_text(ROW).rstrip("\n"),
        "\ufeff" + table_text(ROW),
        table_text(ROW) + "\n\n",
        table_text(ROW) + "," * 7 + "\n",
        table_text(ROW, [""] * 8),
        table_text(ROW[::-1], columns=COLUMNS[::-1]),
        table_text([*ROW, "more"], columns=[*COLUMNS, "Unknown Column"]),
        table_text(["1.0", *ROW[1:]]),
        table_text([" 1 ", *ROW[1:]]),
        table_text(["0001", *ROW[1:]]),
        table_text([f" {cell} " for cell in ROW], columns=[f" {name} " for name in COLUMNS]),
        '"' + '","'.join(COLUMNS) + '"\n"' + '","'.join(ROW) + '"\n',
    ],
    ids=[
        "plain",
        "crlf",
        "no last line end",
        "bom",
        "blank lines",
        "commas only",
        "empty cells only",
        "other order",
        "more columns",
        "id as a float",
        "id with spaces",
        "id with zeros",
        "spaces",
        "quotes",
    ],
)
def test_forms_of_the_same_csv_are_read_alike(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == ({1: [PARSED]}, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_names_with_accents_are_read_in_common_encodings(tmp_path: Path, encoding: str) -> None:
    text = table_text(row_of(site="Hôpital général", manufacturer="Müller"))
    rows, issues = read(tmp_path, text.encode(encoding))
    assert (rows[1][0].site, rows[1][0].manufacturer) == ("Hôpital général", "Müller")
    expected = ["read as cp1252, as in 'Müller'"] if encoding == "latin-1" else []
    assert [issue.message for issue in issues] == expected


def test_commas_quotes_and_line_breaks_stay_inside_their_field(tmp_path: Path) -> None:
    text = table_text(
        row_of("1", manufacturer='GE, "Medical"', site="Long\nGang\r\nHospital"), row_of("2")
    )
    rows, issues = read(tmp_path, text)
    assert list(rows) == [1, 2]
    assert rows[1][0].manufacturer == 'GE, "Medical"'
    assert rows[1][0].site.split() == ["Long", "Gang", "Hospital"]
    assert rows[2] == [PARSED]
    assert issues == []


@quick
@given(values=st.lists(st.from_regex(r"[A-Za-z0-9äß\",;']{1,8}", fullmatch=True), min_size=7))
def test_any_text_comes_back_as_csv_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    cells = [f"x{value}" for value in values[:7]]  # never one of the words for a missing value
    rows, _ = read(tmp_path_factory.getbasetemp(), table_text(["7", *cells]))
    fields = [FIELDS[column] for column in COLUMNS[1:]]
    assert rows == {7: [Metadata(**dict(zip(fields, cells, strict=True)))]}


def test_values_stay_text_as_they_are(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, table_text(row_of(age="007", birth_date="1963", site="1e5")))
    row = rows[1][0]
    assert (row.age, row.birth_date, row.site) == ("007", "1963", "1e5")


# ---------------------------------------------------------------- encodings, sexes, dates


def said(issues: list[Issue], code: str) -> list[str]:
    return [issue.message for issue in issues if issue.code == code]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_in_any_form_is_read_without_a_word(
    tmp_path: Path, encoding: str, delimiter: str
) -> None:
    text = table_text(row_of(site="龙岗区人民医院", sex="女")).replace(",", delimiter)
    rows, issues = read(tmp_path, text.encode(encoding))
    assert (rows[1][0].site, rows[1][0].sex) == ("龙岗区人民医院", "F")
    assert issues == []


def test_another_encoding_is_recognised_and_said(tmp_path: Path) -> None:
    content = table_text(row_of(site="龙岗区人民医院", sex="女")).encode("gb18030")
    rows, issues = read(tmp_path, content)
    assert (rows[1][0].site, rows[1][0].sex) == ("龙岗区人民医院", "F")
    assert said(issues, "metadata_encoding") == ["read as gb18030, as in '女'"]
    assert "--metadata_encoding" in issues[0].action


def test_an_encoding_that_is_named_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_bytes(table_text(row_of(site="Győr")).encode("cp1250"))
    table, issues = read_metadata(file_ref(path, path.name), AMOS22, "cp1250")
    assert (table.rows["0001"][0].site, issues) == ("Győr", [])
    with pytest.raises(ArchiveError, match=r"meta\.csv: not a text in utf-8; name the right one"):
        read_metadata(file_ref(path, path.name), AMOS22, "utf-8")


def test_sexes_are_F_and_M_and_what_is_not_understood_is_said(tmp_path: Path) -> None:
    words = ["f", "female", "Female", " F ", "m", "MALE", "1", "0", "", "other"]
    text = table_text(*(row_of(str(n), sex=word) for n, word in enumerate(words)))
    rows, issues = read(tmp_path, text)
    found = [rows[n][0].sex for n in range(len(words))]
    assert found == [*"FFFFMM", "1", "0", "UND", "other"]
    assert said(issues, "unknown_metadata_value") == [
        "Patient's Sex: not understood: '0', '1', 'other'"
    ]
    assert len(issues) == 1


def test_dates_are_brought_to_one_form(tmp_path: Path) -> None:
    forms = ["1971-08-05", "1971/8/5", "05.08.1971", "1971-08-05 00:00:00", "19710805.0"]
    text = table_text(*(row_of(str(n), birth_date=form) for n, form in enumerate(forms)))
    rows, issues = read(tmp_path, text)
    assert {rows[n][0].birth_date for n in range(len(forms))} == {"19710805"}
    assert issues == []


@pytest.mark.parametrize(
    ("clear", "day"), [(["25/08/1971"], "19710805"), (["08/25/1971"], "19710508"), ([], None)]
)
def test_slashes_follow_the_clear_rows_of_their_column(
    tmp_path: Path, clear: list[str], day: str | None
) -> None:
    forms = ["05/08/1971", *clear]
    text = table_text(*(row_of(str(n), acquisition_date=form) for n, form in enumerate(forms)))
    rows, issues = read(tmp_path, text)
    assert rows[0][0].acquisition_date == (day or "05/08/1971")
    assert len(said(issues, "ambiguous_date")) == (day is None)
    assert len(issues) == (day is None)


def test_dates_that_are_none_stay_and_are_said(tmp_path: Path) -> None:
    texts = [f"1971{n:02d}99" for n in range(10, 20)]
    text = table_text(*(row_of(str(n), birth_date=date) for n, date in enumerate(texts)))
    rows, issues = read(tmp_path, text)
    assert [rows[n][0].birth_date for n in range(len(texts))] == texts
    (message,) = said(issues, "unknown_metadata_value")
    assert message.endswith("'19711499' and 5 more")


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "None"])
def test_a_missing_value_is_UND(tmp_path: Path, cell: str) -> None:
    rows, issues = read(tmp_path, table_text(["3", *[cell] * 6, "LGPH"]))
    assert rows == {3: [Metadata(site="LGPH")]}
    assert rows[3][0].sex == "UND"
    assert issues == []


def test_a_row_that_ends_early_is_UND_there(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, table_text(["3", "19630101", "F"]))
    assert rows == {3: [Metadata(birth_date="19630101", sex="F")]}


def test_a_csv_without_rows_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, table_text()) == ({}, [])


def test_rows_with_one_id_are_kept_in_file_order(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, table_text(row_of("5", sex="F"), row_of("6"), row_of("5", sex="M")))
    assert [row.sex for row in rows[5]] == ["F", "M"]


@pytest.mark.parametrize("cell", ["x", "1.5", "-1", "1e3", "1 2", "amos", "1,0", "²"])
def test_an_id_that_is_no_number_is_left_aside_with_a_warning(tmp_path: Path, cell: str) -> None:
    rows, issues = read(tmp_path, table_text(row_of("1"), row_of(cell), row_of("2")))
    assert list(rows) == [1, 2]
    (issue,) = issues
    assert (issue.code, issue.severity) == ("bad_metadata_row", "warning")
    assert "3" in issue.message  # the row's number in the file
    assert repr(cell) in issue.message


def test_a_row_without_an_id_is_left_aside_with_a_warning(tmp_path: Path) -> None:
    rows, (issue,) = read(tmp_path, table_text(row_of("")))
    assert rows == {}
    assert issue.code == "bad_metadata_row"


# ---------------------------------------------------------------- a csv that is refused


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    columns = [name for name in COLUMNS if name != column]
    assert column.strip("'") in refusal(tmp_path, table_text(columns=columns)).replace("\\'", "'")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\0" * 100,
        b"PK\x03\x04" + bytes(range(256)),
        b'"' + b"x" * 200_000,
    ],
    ids=["empty", "blank", "zeros", "xlsx", "endless field"],
)
def test_a_file_that_is_no_such_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(tmp_path, content)


def test_a_csv_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"absent\.csv"):
        read_metadata(file_ref(tmp_path / "absent.csv", "absent.csv"), AMOS22)


# ---------------------------------------------------------------- the row of a scan


def rows_of(scanners: dict[int, list[str]]) -> Rows:
    """Rows whose site tells which row they are: ``506`` or, among several, ``506b``."""
    return {
        number_seq(number): [
            Metadata(manufacturer_model_name=name, site=f"{number}{'abc'[i] if i else ''}")
            for i, name in enumerate(names)
        ]
        for number, names in scanners.items()
    }


def find(scanners: dict[int, list[str]], number: int, offset: int = 0) -> tuple[str, list[str]]:
    table = MetadataTable(AMOS22, rows_of(scanners), offset, "meta.csv")
    metadata, issues = table.find_row(number_seq(number))
    for issue in issues:
        assert (issue.severity, issue.sample) == ("warning", f"amos_{number:04d}")
    return metadata.site, [issue.code for issue in issues]


@pytest.mark.parametrize(
    ("number", "offset", "site"),
    [
        (1, 0, "1"),
        (1, -1, "1"),
        (500, 0, "500"),
        (500, -1, "500"),
        (501, 0, "501"),
        (501, -1, "500b"),
        (600, 0, "600"),
        (600, -1, "599"),
    ],
)
def test_only_mr_scans_are_shifted(number: int, offset: int, site: str) -> None:
    scanners = {n: ["Aquilion ONE"] for n in (1, 2, 499)}
    scanners |= {n: ["Prisma"] for n in (501, 502, 599, 600)}
    scanners[500] = ["Aquilion ONE", "Prisma"]
    assert find(scanners, number, offset) == (site, [])


def test_a_scan_beyond_600_is_shifted_as_all_above_500_are() -> None:
    assert find({700: ["Prisma"], 701: ["Achieva"]}, 701, -1) == ("700", [])


def test_a_scan_without_a_row_is_all_UND_with_a_warning() -> None:
    assert find({1: ["Prisma"]}, 2) == ("UND", ["metadata_row_missing"])
    assert find({501: ["Prisma"]}, 501, -1) == ("UND", ["metadata_row_missing"])


@pytest.mark.parametrize(
    ("number", "names", "site", "codes"),
    [
        (500, ["Aquilion ONE", "Prisma"], "500", []),
        (500, ["Prisma", "Aquilion ONE"], "500b", []),
        (500, ["Prisma", "Achieva"], "500", ["duplicate_metadata_row"]),
        (500, ["UND", "other"], "500", ["duplicate_metadata_row"]),
        (500, ["UND", "Brilliance16"], "500b", []),
        (
            500,
            ["Prisma", "Brilliance16", "Optima CT660"],
            "500b",
            ["duplicate_metadata_row"],
        ),
        (501, ["Aquilion ONE", "Prisma"], "501b", []),
        (501, ["Aquilion ONE", "Brilliance16"], "501", ["duplicate_metadata_row"]),
        (900, ["Aquilion ONE", "Prisma"], "900", ["duplicate_metadata_row"]),
    ],
)
def test_of_several_rows_the_one_that_fits_is_taken_else_the_first(
    number: int, names: list[str], site: str, codes: list[str]
) -> None:
    assert find({number: names}, number) == (site, codes)


# ---------------------------------------------------------------- the MR offset

CT, INGENIA, PRISMA = "Aquilion ONE", "Ingenia", "Prisma"


def decide(
    scanners: dict[int, list[str]], labelled: list[int], requested: str = "auto"
) -> tuple[int, list[tuple[str, str]]]:
    scans = {number_seq(number): number in labelled for number in sorted({501, *labelled})}
    before = MetadataTable(AMOS22, rows_of(scanners), path="meta.csv")
    table, issues = before.with_mr_offset(requested, scans)
    assert all(issue.message for issue in issues)
    return table.mr_offset, [(issue.code, issue.severity) for issue in issues]


SAID = [("mr_metadata_offset", "info")]
UNKNOWN = [("mr_metadata_offset_unknown", "warning")]


@pytest.mark.parametrize("at_500", [[PRISMA], [INGENIA], [CT, PRISMA], [PRISMA, CT]])
@pytest.mark.parametrize("at_600", [[], [CT], ["UND"], ["another"]])
def test_an_mr_row_at_500_and_none_at_600_shifts(at_500: list[str], at_600: list[str]) -> None:
    assert decide({500: at_500, 600: at_600}, []) == (-1, SAID)


@pytest.mark.parametrize("at_600", [[PRISMA], [INGENIA], [CT, PRISMA]])
@pytest.mark.parametrize("at_500", [[], [CT], ["UND"]])
def test_an_mr_row_at_600_and_none_at_500_does_not_shift(
    at_500: list[str], at_600: list[str]
) -> None:
    assert decide({500: at_500, 600: at_600}, []) == (0, SAID)


def test_the_first_rows_decide_before_the_labelled_scans_are_looked_at() -> None:
    fits_zero_only = {500: [PRISMA], 506: [INGENIA], 507: [PRISMA]}
    assert decide(fits_zero_only, [507]) == (-1, SAID)


def test_mr_rows_at_both_ends_stop_and_ask_for_the_option() -> None:
    with pytest.raises(ArchiveError, match="--mr-metadata-offset"):
        decide({500: [CT, PRISMA], 600: [PRISMA]}, [])


@pytest.mark.parametrize("requested", ["0", "-1"])
@pytest.mark.parametrize(
    "scanners", [{500: [PRISMA], 600: [PRISMA]}, {500: [PRISMA]}, {600: [PRISMA]}, {}]
)
def test_an_explicit_offset_is_taken_whatever_the_csv_says(
    requested: str, scanners: dict[int, list[str]]
) -> None:
    assert decide(scanners, [507], requested) == (int(requested), SAID)


@pytest.mark.parametrize(
    ("scanners", "offset"),
    [
        ({506: [PRISMA], 507: [INGENIA]}, -1),
        ({506: [PRISMA], 507: [CT]}, -1),
        ({506: [PRISMA]}, -1),
        ({506: [CT, PRISMA], 507: ["another"]}, -1),
        ({506: [INGENIA], 507: [PRISMA]}, 0),
        ({507: [PRISMA]}, 0),
        ({506: [PRISMA], 507: [PRISMA], 509: ["SIGNA HDe"], 510: [INGENIA]}, -1),
        ({506: [PRISMA], 507: [PRISMA], 509: [CT], 510: ["Achieva"]}, 0),
    ],
)
def test_in_a_part_of_the_csv_the_one_fitting_offset_is_taken(
    scanners: dict[int, list[str]], offset: int
) -> None:
    labelled = [507, 510] if 510 in scanners else [507]
    assert decide(scanners, labelled) == (offset, SAID)


@pytest.mark.parametrize(
    ("scanners", "labelled"),
    [
        ({506: [PRISMA], 507: [PRISMA]}, [507]),
        ({506: [INGENIA], 507: [INGENIA]}, [507]),
        ({506: [PRISMA], 507: [INGENIA], 509: [INGENIA], 510: [PRISMA]}, [507, 510]),
        ({506: [PRISMA], 507: [INGENIA]}, []),
        ({}, [507]),
    ],
    ids=["both fit", "none fits", "they disagree", "nothing labelled", "empty csv"],
)
def test_without_evidence_row_N_is_taken_with_a_warning(
    scanners: dict[int, list[str]], labelled: list[int]
) -> None:
    assert decide(scanners, labelled) == (0, UNKNOWN)


def test_an_archive_without_mr_scans_says_nothing_about_them() -> None:
    for rows in (rows_of({500: [PRISMA]}), {}):
        assert MetadataTable(AMOS22, rows).with_mr_offset("auto", {})[1] == []
