"""Workbooks, texts and splits under ROOT_DIR by every command: theirs stay, ours are kept up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook
from roots import BARE, change_sex, ct_archive, errors, issues, program, put_back, snapshot, table

from amos_dask.phantom import METADATA_NAME
from amos_dask.tables.workbook import read_sheet

MANIFEST = "grouped/dataset_manifest.xlsx"
FOLDS = "split02_kfold2"


class Place:
    """A folder with an archive and a finished ROOT_DIR."""

    def __init__(self, folder: Path, cluster: str, *how: str) -> None:
        self.archive, self.root = folder / "archive", folder / "AMOS22"
        self.manifest = self.root / MANIFEST
        self._how = how
        self._cluster = ("--cluster", cluster, "--quiet")

    def run(self, *words: str | Path, exit_code: int = 0) -> Any:
        where = ("run", self.root, "--archive", self.archive)
        return program(*where, *self._how, *words, *self._cluster, exit_code=exit_code)

    def command(self, *words: str | Path, exit_code: int = 0) -> Any:
        own = () if words[0] in ("make-split", "index-manifests") else self._cluster
        return program(*words, *own, exit_code=exit_code)

    def codes(self) -> list[tuple[str, str]]:
        """Return code and file of what is said of files that are no sample's."""
        known = ("replaced", "foreign_file", "workbook_locked", "outdated_output")
        found = [issue for issue in issues(self.root) if issue["code"] in known]
        return [(issue["code"], issue["file"]) for issue in found if not issue["sample"]]

    def replaced(self) -> list[str]:
        folder = self.root / "replaced"
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a copy of an archive and its finished ROOT_DIR, made in a folder beside it."""
    work = tmp_path_factory.mktemp("made") / "work"
    ct_archive(work, 4, seed=1).rename(work / "archive")
    Place(work, cluster_address).run()
    return Path(shutil.copytree(work, work.with_name("kept")))


@pytest.fixture
def place(made: Path, cluster_address: str) -> Place:
    return Place(put_back(made, made.with_name("work")), cluster_address)


@pytest.fixture(scope="module")
def made_bare(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return the same without report and statistics, which take half of a run's time."""
    work = tmp_path_factory.mktemp("bare") / "work"
    ct_archive(work, 4, seed=1).rename(work / "archive")
    Place(work, cluster_address, *BARE).run()
    return Path(shutil.copytree(work, work.with_name("kept")))


@pytest.fixture
def bare(made_bare: Path, cluster_address: str) -> Place:
    return Place(put_back(made_bare, made_bare.with_name("work")), cluster_address, *BARE)


def edit(path: Path, change: Any) -> None:
    book = load_workbook(path)
    change(book)
    book.save(path)


def add_column(book: Any, value: str = "bad") -> None:
    sheet = book["Manifest"]
    column = sheet.max_column + 1
    sheet.cell(1, column).value, sheet.cell(2, column).value = "my_quality", value


def forget(place: Place, name: str) -> None:
    """Have a file not be ours any more."""
    listed = place.root / ".amos-dask/files.json"
    content = json.loads(listed.read_text())
    del content[name]
    listed.write_text(json.dumps(content))


def correct_a_sex(place: Place) -> str:
    """Have the csv say another sex of one sample; return its id."""
    name = next(iter(table(place.manifest)))
    sex = table(place.manifest)[name]["sex"]
    change_sex(place.archive / METADATA_NAME, int(name[-4:]), "M" if sex == "F" else "F")
    return name


def put_workbook_of_theirs(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    book.active.append(["three weeks of notes"])
    book.save(path)
    return path.read_bytes()


# ---------------------------------------------------------------- run


def test_additions_stay_and_are_no_alteration(place: Place) -> None:
    edit(place.manifest, add_column)
    for name in ("issues", "statistics"):
        path = place.root / f"descriptor/{name}.xlsx"
        edit(path, lambda book: book.create_sheet("my review").append(["done"]))
    before = snapshot(place.root)
    place.command("verify", place.root)
    assert snapshot(place.root) == before
    for _ in range(2):
        place.run()
        after = snapshot(place.root)
        changed = {name for name in before if before[name] != after[name]}
        assert changed <= {".amos-dask/files.json"}
    correct_a_sex(place)
    place.run()
    assert next(iter(table(place.manifest).values()))["my_quality"] == "bad"
    assert load_workbook(place.root / "descriptor/issues.xlsx").sheetnames[-1] == "my review"
    assert load_workbook(place.root / "descriptor/statistics.xlsx").sheetnames[-1] == "my review"
    place.command("verify", place.root)
    assert place.codes() == []


def test_a_locked_workbook_is_an_error_and_all_else_is_done(bare: Place) -> None:
    edit(bare.manifest, add_column)
    lock = bare.manifest.with_name(".~lock.dataset_manifest.xlsx#")
    lock.write_text("me")
    name = correct_a_sex(bare)
    before = bare.manifest.read_bytes()
    bare.run(exit_code=3)
    assert bare.manifest.read_bytes() == before
    assert ("workbook_locked", MANIFEST) in bare.codes()
    of_ct = table(bare.root / "grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx")[name]
    assert of_ct["sex"] != table(bare.manifest)[name]["sex"]
    lock.unlink()
    bare.run()
    assert errors(bare.root) == set()
    assert table(bare.manifest)[name]["sex"] == of_ct["sex"]
    assert table(bare.manifest)[name]["my_quality"] == "bad"


@pytest.mark.parametrize("name", ["issues.xlsx", "issues.jsonl", "report.html"])
def test_what_was_edited_of_issues_and_report_is_said_in_the_issues(
    place: Place, name: str
) -> None:
    path = place.root / "descriptor" / name
    if name.endswith(".xlsx"):
        edit(path, lambda book: book.worksheets[0].__setitem__("B2", "mine"))
    else:
        path.write_text(path.read_text() + "<!-- mine -->\n")
    edited = path.read_bytes()
    place.run()
    assert place.codes() == [("replaced", f"descriptor/{name}")]
    (kept,) = place.replaced()
    assert (place.root / "replaced" / kept).read_bytes() == edited
    rows = read_sheet(place.root / "descriptor/issues.xlsx", "Issues")
    assert len(rows) == len(issues(place.root))
    before = snapshot(place.root)
    place.run()
    assert snapshot(place.root) == before


@pytest.mark.parametrize(
    "name",
    [
        "descriptor/statistics.xlsx",
        "descriptor/archive_manifest.xlsx",
        "descriptor/issues.jsonl",
        "descriptor/report.html",
        "grouped/splits/split01_standard/split01_standard_train.xlsx",
    ],
)
def test_a_file_of_theirs_in_the_way_stays_until_it_is_adopted(place: Place, name: str) -> None:
    path = place.root / name
    forget(place, name)
    if name.endswith(".xlsx"):
        before = put_workbook_of_theirs(path)
    else:
        path.write_text("mine")
        before = b"mine"
    place.run(exit_code=3)
    assert path.read_bytes() == before
    lines = (place.root / ".amos-dask/issues.jsonl").read_text().splitlines()
    assert [name in line for line in lines if "foreign_file" in line] == [True]
    place.run("--adopt")
    assert path.read_bytes() != before
    assert (place.root / "replaced" / place.replaced()[0]).read_bytes() == before
    assert place.codes() == [("replaced", name)]


def test_a_root_without_its_state_is_gone_on_with(place: Place) -> None:
    edit(place.manifest, add_column)
    before = snapshot(place.root / "descriptor") | snapshot(place.root / "grouped")
    shutil.rmtree(place.root / ".amos-dask")
    place.run()
    after = snapshot(place.root / "descriptor") | snapshot(place.root / "grouped")
    assert {name for name in before if before[name] != after[name]} == set()
    assert before.keys() == after.keys()
    correct_a_sex(place)
    place.run()
    assert place.codes() == []
    assert next(iter(table(place.manifest).values()))["my_quality"] == "bad"


def test_what_is_not_asked_for_stays_and_is_called_old_when_it_is(place: Place) -> None:
    names = [f"descriptor/{name}" for name in ("report.html", "statistics.json", "statistics.xlsx")]
    before = {name: (place.root / name).read_bytes() for name in names}
    without = ("--no_report", "--no_statistics")
    place.run(*without)
    assert place.codes() == []
    correct_a_sex(place)
    for _ in range(2):
        place.run(*without)
        assert place.codes() == [("outdated_output", name) for name in names]
        assert {name: (place.root / name).read_bytes() for name in names} == before
    place.run()
    assert place.codes() == []
    assert (place.root / names[0]).read_bytes() != before[names[0]]


def test_manifests_of_a_modality_go_when_they_are_ours_alone(bare: Place) -> None:
    theirs = bare.root / "grouped/AMOS-MRI/dataset_manifest_amos_mri.xlsx"
    before = put_workbook_of_theirs(theirs)
    ours = "grouped/splits/split01_standard/split01_standard_test.xlsx"
    assert (bare.root / ours).exists() == ("test" in set(_subsets(bare)))
    correct_a_sex(bare)
    bare.run()
    assert theirs.read_bytes() == before


def _subsets(place: Place) -> list[str]:
    return [row["subset"] for row in table(place.manifest).values()]


def test_an_edited_label_map_is_kept_when_another_is_given(bare: Place) -> None:
    path = bare.root / "descriptor/label_map.yaml"
    path.write_text(f"# mine\n{path.read_text()}")
    bare.run()
    bare.command("verify", bare.root)
    other = bare.archive.parent / "labels.yaml"
    other.write_text(path.read_text().replace("spleen", "milt"))
    bare.run("--label_explanation", other)
    assert bare.codes() == [("replaced", "descriptor/label_map.yaml")]
    (kept,) = bare.replaced()
    assert (bare.root / "replaced" / kept).read_text().startswith("# mine")


# ---------------------------------------------------------------- splits of one's own


def test_splits_of_ones_own_follow_the_manifest(bare: Place) -> None:
    where = ("--manifest_file", bare.manifest)
    bare.command("make-split", *where, "--kind", "kfold", "--folds", "2", "--unlabelled")
    folder = bare.root / "grouped/splits" / FOLDS
    subsets = ("--subsets", "fold0", "--subsets", "fold0", "fold1")
    words = ("--split_name", FOLDS, "--output_index_manifest_dir", folder, *subsets)
    bare.command("index-manifests", *where, *words)
    before = table(bare.manifest, FOLDS)
    edit(bare.manifest, lambda book: add_column(_only(book, FOLDS)))
    name = correct_a_sex(bare)
    bare.run()
    bare.command("verify", bare.root)
    after = table(bare.manifest, FOLDS)
    assert {n: row[FOLDS] for n, row in after.items()} == {n: r[FOLDS] for n, r in before.items()}
    assert after[name]["volume"] != before[name]["volume"]
    assert (bare.root / "grouped" / str(after[name]["volume"])).is_file()
    assert next(iter(after.values()))["my_quality"] == "bad"
    found = {path.name: table(path) for path in folder.iterdir()}
    assert found[f"{FOLDS}_fold0_fold1.xlsx"][name]["volume"] == after[name]["volume"]
    assert (
        "my_quality" not in found[f"{FOLDS}_fold0.xlsx"][next(iter(found[f"{FOLDS}_fold0.xlsx"]))]
    )


def _only(book: Any, title: str) -> dict[str, Any]:
    return {"Manifest": book[title]}


def test_a_sample_that_came_later_is_blank_and_said(bare: Place) -> None:
    name = list(table(bare.manifest))[-1]
    words = ("--ids", ",".join(list(table(bare.manifest))[:-1]))
    shutil.rmtree(bare.root)
    bare.run(*words)
    where = ("--manifest_file", bare.manifest, "--kind", "kfold", "--folds", "2", "--unlabelled")
    bare.command("make-split", *where)
    for _ in range(2):
        bare.run()
        assert table(bare.manifest, FOLDS)[name][FOLDS] is None
        (said,) = [i for i in issues(bare.root) if i["code"] == "unassigned_sample"]
        assert name in said["message"]
        assert said["file"] == MANIFEST
    edit(bare.manifest, lambda book: _assign(book[FOLDS], name))
    correct_a_sex(bare)
    bare.run()
    assert table(bare.manifest, FOLDS)[name][FOLDS] == "fold1"
    assert [i for i in issues(bare.root) if i["code"] == "unassigned_sample"] == []
    assert bare.codes() == []  # parts that people give are no edit of ours


def _assign(sheet: Any, name: str) -> None:
    column = next(cell.column for cell in sheet[1] if cell.value == FOLDS)
    for row in sheet.iter_rows(min_row=2):
        if row[0].value == name:
            sheet.cell(row[0].row, column).value = "fold1"


def test_a_copy_of_the_manifest_is_no_part_of_it(bare: Place) -> None:
    def copy(book: Any) -> None:
        book.copy_worksheet(book["Manifest"]).title = "Manifest (2)"

    edit(bare.manifest, copy)
    bare.command("make-split", "--manifest_file", bare.manifest)
    assert len(read_sheet(bare.manifest, "split01_standard")) == 4
    correct_a_sex(bare)
    bare.run()
    assert load_workbook(bare.manifest).sheetnames == [
        "Manifest",
        "split01_standard",
        "Columns",
        "Manifest (2)",
    ]


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ("sheet", ("--kind", "kfold", "--folds", "2", "--split_name", "reviews"), "'reviews'"),
        ("formula", (), "formula"),
        ("", ("--kind", "kfold", "--split_name", "split01_standard"), "official"),
        ("", ("--kind", "holdout", "--split_name", "Split01_Standard"), "official"),
    ],
)
def test_make_split_refuses_what_is_not_its_own(
    place: Place, change: str, words: tuple[str, ...], message: str
) -> None:
    def alter(book: Any) -> None:
        if change == "sheet":
            book.create_sheet("reviews")["A1"] = "three weeks of notes"
        if change == "formula":
            sheet = book["Manifest"]
            column = next(cell.column for cell in sheet[1] if cell.value == "subset")
            sheet.cell(2, column).value = '=IF(C2="M","test","train")'

    edit(place.manifest, alter)
    before = place.manifest.read_bytes()
    said = place.command("make-split", "--manifest_file", place.manifest, *words, exit_code=1)
    assert message in said.stderr
    assert place.manifest.read_bytes() == before
    if change == "sheet":
        words = (*words, "--adopt", "--unlabelled")
        place.command("make-split", "--manifest_file", place.manifest, *words)
        assert list(read_sheet(place.manifest, "reviews"))[-1] == "reviews"
        assert [name.partition("/")[2] for name in place.replaced()] == [MANIFEST]


def test_a_split_that_is_made_anew_over_edited_parts_keeps_the_columns_of_others(
    place: Place,
) -> None:
    words = ("make-split", "--manifest_file", place.manifest, "--kind", "kfold", "--folds", "2")
    place.command(*words, "--unlabelled")
    parts = {name: row[FOLDS] for name, row in table(place.manifest, FOLDS).items()}
    name = next(name for name, part in parts.items() if part == "fold0")

    def move(book: Any) -> None:
        sheet = book[FOLDS]
        column = sheet.max_column + 1
        sheet.cell(1, column).value = "reason"
        for row in sheet.iter_rows(min_row=2):
            row_number = row[0].row
            sheet.cell(row_number, column).value = f"of {row[0].value}"
        _assign(sheet, name)

    edit(place.manifest, move)
    before = place.manifest.read_bytes()
    place.command(*words, "--unlabelled")
    made = table(place.manifest, FOLDS)
    assert {n: row[FOLDS] for n, row in made.items()} == parts
    assert {n: row["reason"] for n, row in made.items()} == {n: f"of {n}" for n in parts}
    (kept,) = place.replaced()
    assert (place.root / "replaced" / kept).read_bytes() == before


def test_an_edited_official_split_is_named_as_what_it_is(place: Place) -> None:
    def move(book: Any) -> None:
        sheet = book["split01_standard"]
        sheet.cell(2, sheet.max_column).value = "mine"

    edit(place.manifest, move)
    words = ("make-split", "--manifest_file", place.manifest)
    said = place.command(*words, exit_code=1).stderr
    assert "worksheet 'split01_standard' does not say what column 'subset' says" in said
    assert "--adopt" in said
    place.command(*words, "--adopt")
    assert {
        row["split01_standard"] for row in table(place.manifest, "split01_standard").values()
    } <= {
        "train",
        "val",
        "test",
    }


# ---------------------------------------------------------------- single commands


def single_commands(place: Place) -> dict[str, tuple[Path, tuple[str | Path, ...]]]:
    """Return command -> what it writes, and its words."""
    out, root = place.root / "descriptor/out.xlsx", place.root
    index = place.root / "grouped/mine/split01_standard_train.xlsx"
    folder = ("--output_index_manifest_dir", index.parent, "--subsets", "train")
    grouped = ("--root_dir", root / "grouped")
    return {
        "archive-manifest": (out, ("--root_dir", place.archive, "--output_manifest_file", out)),
        "dataset-manifest": (out, (*grouped, "--output_manifest_file", out)),
        "small-regions": (
            out,
            (*grouped, "--region_volume_thresh", "50", "--output_manifest", out),
        ),
        "index-manifests": (index, ("--manifest_file", place.manifest, *folder)),
        "stats": (root / "descriptor/statistics.xlsx", (root,)),
        "report": (root / "descriptor/report.html", (root,)),
    }


@pytest.mark.parametrize("command", list(single_commands(Place(Path(), ""))))
def test_single_commands_leave_what_is_not_ours(place: Place, command: str) -> None:
    output, words = single_commands(place)[command]
    if command in ("stats", "report"):
        forget(place, output.relative_to(place.root).as_posix())
    before = put_workbook_of_theirs(output)
    said = place.command(command, *words, exit_code=1)
    assert "--adopt" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert output.read_bytes() == before
    place.command(command, *words, "--adopt")
    assert output.read_bytes() != before
    ours = output.read_bytes()
    assert any((place.root / "replaced" / name).read_bytes() == before for name in place.replaced())
    place.command(command, *words)  # ours by now
    assert command == "report" or output.read_bytes() == ours
    if output.suffix == ".xlsx" and command != "stats":
        edit(output, lambda book: book.create_sheet("mine"))
        forget(place, output.relative_to(place.root).as_posix())
        kept = output.read_bytes()
        place.command(command, *words)  # the same cells
        assert output.read_bytes() == kept


@pytest.mark.parametrize("obstacle", ["theirs", "open", "a folder"])
def test_index_manifests_are_written_all_or_none(bare: Place, obstacle: str) -> None:
    folder = bare.root / "grouped/mine"
    words = ("index-manifests", "--manifest_file", bare.manifest)
    where = ("--output_index_manifest_dir", folder)
    subsets = ("--subsets", "train", "test", "--subsets", "train", "--subsets", "train")
    second = folder / "split01_standard_train.xlsx"
    if obstacle == "theirs":
        put_workbook_of_theirs(second)
    elif obstacle == "open":
        bare.command(*words, *where, *subsets)
        correct_a_sex(bare)
        bare.run()  # index manifests follow
        edit(second, lambda book: book["Manifest"].delete_rows(2))
        both = folder / "split01_standard_train_test.xlsx"
        edit(both, lambda book: book["Manifest"].delete_rows(2))
        second.with_name(f"~${second.name}").write_text("me")
    else:
        second.mkdir(parents=True)
    before = snapshot(folder)
    said = bare.command(*words, *where, *subsets, exit_code=1)
    assert second.name in said.stderr
    assert snapshot(folder) == before
