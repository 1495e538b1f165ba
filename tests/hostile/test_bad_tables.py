"""Texts from outside: csv, YAML and workbooks that are wrong, large, or meant to do harm."""

from __future__ import annotations

import ast
import csv
import io
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from hostile.bad_images import image, mask_voxels, volume_voxels
from roots import snapshot, write_workbook

import amos_dask
from amos_dask.archive.metadata import Rows, read_metadata
from amos_dask.datasets import AMOS22
from amos_dask.errors import ArchiveError, ManifestError
from amos_dask.file_refs import file_ref
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.root.layout import SampleFolder
from amos_dask.root.staging import Staging
from amos_dask.steps.info_file import parse_info_yaml
from amos_dask.tables.workbook import read_sheet

assert AMOS22.metadata is not None
COLUMNS = AMOS22.metadata.columns
HEADER = [AMOS22.metadata.id_column, *COLUMNS.values()]
PACKAGE = Path(amos_dask.__file__).parent


def csv_of(*rows: list[str], header: list[str] = HEADER) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


def row_of(number: object, value: str = "x") -> list[str]:
    return [str(number), *[value] * (len(HEADER) - 1)]


def read(folder: Path, text: str) -> tuple[Rows, list[Issue]]:
    path = folder / "meta.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table, issues = read_metadata(file_ref(path, path.name), AMOS22)
    return table.rows, issues


# ---------------------------------------------------------------- csv


def test_of_twenty_thousand_rows_all_are_read(tmp_path: Path) -> None:
    text = csv_of(*(row_of(n, f"value {n}") for n in range(20_000)))
    rows, issues = read(tmp_path, text)
    assert len(rows) == 20_000
    assert rows["19999"][0].site == "value 19999"
    assert [issue.code for issue in issues] == ["unknown_metadata_value"] * 3  # a column each
    assert all(len(issue.message) < 200 for issue in issues)


def test_twenty_thousand_bad_rows_are_named_as_far_as_anyone_would_read(tmp_path: Path) -> None:
    bad = (row_of(f"scan {n}") for n in range(20_000))
    rows, issues = read(tmp_path, csv_of(row_of(1, "UND"), *bad, row_of(2, "UND")))
    assert list(rows) == ["0001", "0002"]
    assert {(issue.code, issue.file) for issue in issues} == {("bad_metadata_row", "meta.csv")}
    assert len(issues) == 101
    assert "row 3" in issues[0].message
    assert "19900 more" in issues[-1].message


@pytest.mark.parametrize("cell", ["x" * 100_000, "a\nb", "=1+1\r\n", "\x1b[2J"])
def test_a_bad_id_is_shown_in_one_short_line(tmp_path: Path, cell: str) -> None:
    _, (issue,) = read(tmp_path, csv_of(row_of(cell)))
    assert issue.message.isprintable()
    assert len(issue.message) < 100


@pytest.mark.parametrize("digits", ["\u0661", "\u0967", "\uff11"])
def test_digits_of_another_script_are_no_id(tmp_path: Path, digits: str) -> None:
    rows, (issue,) = read(tmp_path, csv_of(row_of(digits)))
    assert rows == {}
    assert issue.code == "bad_metadata_row"


@pytest.mark.parametrize(
    "header",
    [["ID", *HEADER[1:]], ["a\nb", "c\rd"], ["x" * 100_000], ["c"] * 100_000, ["\x1b[2J\0"], []],
    ids=["renamed", "lines", "long", "many", "controls", "none"],
)  # fmt: skip
def test_a_csv_with_other_columns_is_refused_in_one_short_line(
    tmp_path: Path, header: list[str]
) -> None:
    with pytest.raises(ArchiveError) as caught:
        read(tmp_path, csv_of(header=header))
    message = str(caught.value)
    assert message.startswith("meta.csv: column 'amos_id' is missing")
    assert message.isprintable()
    assert len(message) < 1000


def test_a_csv_beyond_every_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"meta\.csv: larger than"):
        read(tmp_path, csv_of() + "\n" * (17 << 20))


# ---------------------------------------------------------------- YAML

BOMB = "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 9 if before else ['lol'] * 9)}]\n"
    for key, before in zip("abcdefghij", ["", *"abcdefghi"], strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        f"seq: '0001'\nsubset: train\n{BOMB}sex: *j\n",
        f"{BOMB}seq: *j\nsubset: train\n",
        "seq: '0001'\nsubset: train\nsex: !!python/object/apply:os.getcwd []\n",
        "seq: '0001'\nsubset: train\nsex: {a: b}\n",
    ],
    ids=["bomb", "bomb as seq", "tag", "mapping"],
)
def test_an_info_file_that_means_harm_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"valid YAML|not text"):
        parse_info_yaml(text)


def test_nothing_reads_yaml_but_safely() -> None:
    """Every loader in the package is PyYAML's safe one, or made of it."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                assert name not in ("yaml.load", "yaml.load_all", "yaml.full_load"), path
                assert not (name.startswith("yaml.") and "unsafe" in name.lower()), path
                assert name not in ("yaml.Loader", "yaml.FullLoader"), path


@pytest.mark.parametrize("letter", ["a", "ß", "漢", "𠀋"])
def test_the_longest_label_names_can_be_files(tmp_path: Path, letter: str) -> None:
    column = LabelMap(((0, "background"), (255, letter * 50))).columns()[255]
    path = SampleFolder(tmp_path, "123456789", "amos").binary_mask(column)
    with Staging() as staging:
        staging.write_text(path, "x")
        staging.publish()
    assert path.read_text() == "x"


# ---------------------------------------------------------------- workbooks


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    frame = pd.DataFrame([["a", 1, 2]], columns=["ID", "subset", "szx"])
    write_workbook(path, {"Manifest": frame})
    book = openpyxl.load_workbook(path)
    book["Manifest"]["C1"] = "ID"
    book.save(path)
    book.close()
    with pytest.raises(ManifestError, match="two columns 'ID'") as caught:
        read_sheet(path, "Manifest")
    assert str(path) in str(caught.value)


ENTITIES = "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">'
    for name, before in zip("bcdefghij", "abcdefghi", strict=True)
)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml"])
def test_a_workbook_of_exploding_entities_is_refused(tmp_path: Path, part: str) -> None:
    path = tmp_path / "book.xlsx"
    write_workbook(path, {"Manifest": pd.DataFrame({"ID": ["a"]})})
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    declared = f'<!DOCTYPE x [<!ENTITY a "{"lol" * 99}">{ENTITIES}]><x>&j;</x>'
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, declared if name == part else content)
    with pytest.raises(ManifestError) as caught:
        read_sheet(path, "Manifest")
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------- metadata in a whole run

NASTY = [
    *["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "../../../../tmp/evil", "/etc/passwd"],
    *["..", "a/b\\c", "<b>&amp;", "#REF!", "患者", "x" * 300],
]


def test_metadata_stays_text_and_inside_the_output_folder(
    tmp_path: Path, cluster_address: str
) -> None:
    archive, root = tmp_path / "archive", tmp_path / "out" / "AMOS22"
    for folder, content in (("imagesTr", volume_voxels()), ("labelsTr", mask_voxels())):
        (archive / folder).mkdir(parents=True)
        for number in range(1, len(NASTY) + 1):
            (archive / folder / f"amos_{number:04d}.nii.gz").write_bytes(image(content))
    rows = [row_of(number, value) for number, value in enumerate(NASTY, start=1)]
    (archive / "labeled_data_meta_0000_0599.csv").write_text(csv_of(*rows), encoding="utf-8")
    before = snapshot(archive)
    result = amos_dask.run(root, archive, cluster=cluster_address, progress="none")
    assert result.n_failed == 0
    assert snapshot(archive) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["AMOS22"]
    folders = sorted(path.relative_to(root) for path in root.rglob("amos_0*") if path.is_dir())
    assert {path.parent.as_posix() for path in folders} == {"grouped/AMOS-CT/train/UND"}
    assert len(folders) == len(NASTY)
    for book in root.rglob("*.xlsx"):
        assert_no_formulas(book)
    for manifest in ("descriptor/archive_manifest.xlsx", "grouped/dataset_manifest.xlsx"):
        frame = read_sheet(root / manifest, "Manifest")
        for column in COLUMNS:
            assert set(frame[column]) == set(NASTY), (manifest, column)


def assert_no_formulas(book: Path) -> None:
    with zipfile.ZipFile(book) as parts:
        for name in parts.namelist():
            if name.startswith("xl/worksheets/"):
                assert b"<f" not in parts.read(name), (book, name)
