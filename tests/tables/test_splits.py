"""Splits: a worksheet with a last column of the split's name, and its index manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from roots import write_workbook

import amos_dask
from amos_dask.datasets import AMOS22
from amos_dask.errors import ManifestError
from amos_dask.tables.of_root import missing_subset_issues
from amos_dask.tables.splits import (
    available_subsets,
    index_frames,
    official_split,
    require_split_name,
)
from amos_dask.tables.workbook import read_sheet, sheet_names

STANDARD = [["train", "val"], ["train"], ["val"], ["test"]]
SUBSETS = ["train", "val", "train", "test", "val"]
SPLIT = "split01_standard"


def manifest(subsets: Sequence[str] = SUBSETS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ID": [f"amos_{i:04d}" for i in range(1, len(subsets) + 1)],
            "seq": [f"{i:04d}" for i in range(1, len(subsets) + 1)],
            "subset": list(subsets),
            "szx": range(len(subsets)),
            "transform": "[[1.0]]",
        },
        dtype=object,
    )


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    path = tmp_path / "grouped" / "dataset_manifest.xlsx"
    write_workbook(path, {"Manifest": manifest()})
    return path


def with_split(path: Path, split_name: str = SPLIT) -> Path:
    amos_dask.make_split(path, split_name=split_name)
    return path


def ids(path: Path) -> list[str]:
    return read_sheet(path, "Manifest")["ID"].tolist()


# ---------------------------------------------------------------- make-split


def test_the_split_is_all_columns_and_a_last_one_that_repeats_the_subset(workbook: Path) -> None:
    result = amos_dask.make_split(workbook, split_name=SPLIT)
    split = read_sheet(workbook, SPLIT)
    assert list(split.columns) == ["ID", "seq", "subset", "szx", "transform", SPLIT]
    assert split[SPLIT].tolist() == SUBSETS
    pd.testing.assert_frame_equal(split.iloc[:, :-1], read_sheet(workbook, "Manifest"))
    assert result.outputs == (workbook,)
    assert result.n_samples == 5
    assert "2 train" in result.summary


def test_the_split_is_added_after_the_manifest(workbook: Path) -> None:
    assert sheet_names(with_split(workbook)) == ["Manifest", SPLIT]


def test_making_a_split_again_replaces_it(workbook: Path) -> None:
    before = read_sheet(with_split(workbook), SPLIT)
    write_workbook(workbook, {"Manifest": manifest(["test", "test"]), SPLIT: before})
    with_split(workbook)
    assert sheet_names(workbook) == ["Manifest", SPLIT]
    assert read_sheet(workbook, SPLIT)[SPLIT].tolist() == ["test", "test"]


def test_making_a_split_twice_changes_nothing(workbook: Path) -> None:
    first = read_sheet(with_split(workbook), SPLIT)
    pd.testing.assert_frame_equal(read_sheet(with_split(workbook), SPLIT), first)


def test_other_worksheets_stay(workbook: Path) -> None:
    with_split(workbook)
    book = openpyxl.load_workbook(workbook)
    book.create_sheet("My notes")["B2"] = "=1+1"
    book.save(workbook)
    book.close()
    with_split(workbook, "another_split")
    assert sheet_names(workbook) == ["Manifest", SPLIT, "My notes", "another_split", "Splits"]
    book = openpyxl.load_workbook(workbook)
    assert book["My notes"]["B2"].value == "=1+1"
    assert book[SPLIT]["A1"].value == "ID"
    book.close()


def test_text_that_looks_like_numbers_stays_text_in_the_split(workbook: Path) -> None:
    book = openpyxl.load_workbook(with_split(workbook))
    cell = book[SPLIT]["B2"]
    assert (cell.value, cell.number_format) == ("0001", "@")
    book.close()


@pytest.mark.parametrize(
    "name",
    ["", "Manifest", "manifest", "HISTORY", "a/b", "a\\b", "a:b", "a*b", "a?b", "[a]", "x" * 32,
     " padded", "dot.", "new\nline", "quote'", "a|b", "<a>"],
)  # fmt: skip
def test_a_name_that_cannot_be_a_worksheet_and_file_is_refused(name: str, workbook: Path) -> None:
    before = workbook.read_bytes()
    with pytest.raises(ManifestError, match=r"cannot (name a worksheet|be named)"):
        amos_dask.make_split(workbook, split_name=name)
    assert workbook.read_bytes() == before


@pytest.mark.parametrize("name", ["split01_standard", "x" * 31, "折り_1", "a b", "fold-3", "v1.2"])
def test_ordinary_names_are_fine(name: str, workbook: Path) -> None:
    require_split_name(name)
    assert sheet_names(with_split(workbook, name))[:2] == ["Manifest", name]


@pytest.mark.parametrize("name", ["subset", "ID", "szx"])
def test_a_split_cannot_take_the_name_of_a_column(name: str, workbook: Path) -> None:
    with pytest.raises(ManifestError, match=name):
        amos_dask.make_split(workbook, split_name=name)
    assert sheet_names(workbook) == ["Manifest"]


@pytest.mark.parametrize("missing", ["ID", "subset"])
def test_a_manifest_without_a_needed_column_is_refused(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset_manifest.xlsx"
    write_workbook(path, {"Manifest": manifest().drop(columns=missing)})
    with pytest.raises(ManifestError, match=missing) as caught:
        amos_dask.make_split(path)
    assert str(path) in str(caught.value)


def test_a_workbook_without_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset_manifest.xlsx"
    write_workbook(path, {"Sheet1": manifest()})
    with pytest.raises(ManifestError, match="'Manifest'"):
        amos_dask.make_split(path)


def test_a_missing_manifest_of_a_modality_suggests_the_other_place(tmp_path: Path) -> None:
    there = tmp_path / "grouped" / "dataset_manifest_amos_ct.xlsx"
    write_workbook(there, {"Manifest": manifest()})
    asked = tmp_path / "grouped" / "AMOS-CT" / there.name
    for call in (
        lambda: amos_dask.make_split(asked),
        lambda: amos_dask.index_manifests(asked, tmp_path, subsets=STANDARD),
    ):
        with pytest.raises(ManifestError) as caught:
            call()
        assert str(asked) in str(caught.value)
        assert f"did you mean {there}?" in str(caught.value)


def test_a_missing_manifest_in_grouped_suggests_the_modalitys_folder(tmp_path: Path) -> None:
    there = tmp_path / "grouped" / "AMOS-MRI" / "dataset_manifest_amos_mri.xlsx"
    write_workbook(there, {"Manifest": manifest()})
    with pytest.raises(ManifestError) as caught:
        amos_dask.index_manifests(tmp_path / "grouped" / there.name, tmp_path, subsets=STANDARD)
    assert str(there) in str(caught.value)


# ---------------------------------------------------------------- index-manifests


def test_each_combination_becomes_a_workbook_named_after_its_subsets(
    workbook: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "splits" / SPLIT
    result = amos_dask.index_manifests(with_split(workbook), folder, subsets=STANDARD)
    names = [f"{SPLIT}_{name}.xlsx" for name in ("train_val", "train", "val", "test")]
    assert [path.name for path in result.outputs] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert [ids(folder / name) for name in names] == [
        ["amos_0001", "amos_0002", "amos_0003", "amos_0005"],
        ["amos_0001", "amos_0003"],
        ["amos_0002", "amos_0005"],
        ["amos_0004"],
    ]


def test_an_index_manifest_has_all_columns_and_says_what_they_are(
    workbook: Path, tmp_path: Path
) -> None:
    (path,) = amos_dask.index_manifests(with_split(workbook), tmp_path, subsets=[["val"]]).outputs
    assert sheet_names(path) == ["Manifest", "Columns"]
    whole = read_sheet(workbook, SPLIT)
    expected = whole[whole[SPLIT] == "val"].reset_index(drop=True)
    pd.testing.assert_frame_equal(read_sheet(path, "Manifest"), expected)


def test_subsets_are_named_in_the_order_given_and_rows_stay_by_number(
    workbook: Path, tmp_path: Path
) -> None:
    combination = ["val", "train"]
    (path,) = amos_dask.index_manifests(
        with_split(workbook), tmp_path, subsets=[combination]
    ).outputs
    assert path.name == f"{SPLIT}_val_train.xlsx"
    assert ids(path) == ["amos_0001", "amos_0002", "amos_0003", "amos_0005"]


def test_subset_names_of_ones_own_may_hold_underscores(tmp_path: Path) -> None:
    path = tmp_path / "dataset_manifest.xlsx"
    subsets = ["fold_1", "fold_2", "fold_1", "hold_out"]
    write_workbook(path, {"Manifest": manifest(subsets)})
    result = amos_dask.index_manifests(
        with_split(path, "my_split_v2"),
        tmp_path / "out",
        subsets=[["fold_1", "fold_2"], ["hold_out"]],
        split_name="my_split_v2",
    )
    assert [p.name for p in result.outputs] == [
        "my_split_v2_fold_1_fold_2.xlsx",
        "my_split_v2_hold_out.xlsx",
    ]
    assert ids(result.outputs[0]) == ["amos_0001", "amos_0002", "amos_0003"]


def test_labels_edited_by_hand_in_the_split_are_what_counts(workbook: Path, tmp_path: Path) -> None:
    with_split(workbook)
    book = openpyxl.load_workbook(workbook)
    book[SPLIT]["F2"] = "test"
    book.save(workbook)
    book.close()
    (path,) = amos_dask.index_manifests(workbook, tmp_path, subsets=[["test"]]).outputs
    assert ids(path) == ["amos_0001", "amos_0004"]


@pytest.mark.parametrize("unknown", ["trian", "Train", "hold_out", "tr"])
def test_an_unknown_subset_aborts_everything(unknown: str, workbook: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(ManifestError, match=f"'{unknown}'") as caught:
        amos_dask.index_manifests(
            with_split(workbook), folder, subsets=[["train"], ["val", unknown]]
        )
    assert str(workbook) in str(caught.value)
    assert "test, train, val" in str(caught.value)
    assert not folder.exists()


def test_an_unknown_subset_leaves_earlier_index_manifests(workbook: Path, tmp_path: Path) -> None:
    (old,) = amos_dask.index_manifests(with_split(workbook), tmp_path, subsets=[["val"]]).outputs
    before = old.read_bytes()
    with pytest.raises(ManifestError):
        amos_dask.index_manifests(workbook, tmp_path, subsets=[["val"], ["nope"]])
    assert old.read_bytes() == before


def test_an_empty_combination_is_refused(workbook: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(ManifestError):
        amos_dask.index_manifests(with_split(workbook), folder, subsets=[["train"], []])
    assert not folder.exists()


def test_a_split_that_was_not_made_is_named(workbook: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no split 'split02'.*make-split") as caught:
        amos_dask.index_manifests(workbook, tmp_path, subsets=STANDARD, split_name="split02")
    assert str(workbook) in str(caught.value)


def test_a_worksheet_without_the_splits_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset_manifest.xlsx"
    write_workbook(path, {"Manifest": manifest(), SPLIT: manifest()})
    with pytest.raises(ManifestError, match=f"column '{SPLIT}'"):
        amos_dask.index_manifests(path, tmp_path / "out", subsets=STANDARD)


# ---------------------------------------------------------------- the frames behind them


def test_the_manifest_frame_itself_is_not_changed() -> None:
    frame = manifest()
    official_split(frame, SPLIT, Path("m.xlsx"))
    assert SPLIT not in frame.columns


def test_rows_without_a_label_belong_to_no_subset() -> None:
    split = official_split(manifest(), SPLIT, Path("m.xlsx"))
    split.loc[0, SPLIT] = None
    frames = index_frames(split, SPLIT, [["train"]], Path("m.xlsx"))
    assert frames[f"{SPLIT}_train"]["ID"].tolist() == ["amos_0003"]


@pytest.mark.parametrize(
    ("subsets", "available", "missing"),
    [
        (SUBSETS, (("train", "val"), ("train",), ("val",), ("test",)), []),
        (["train"], (("train",),), ["val", "test"]),
        (["val", "train"], (("train", "val"), ("train",), ("val",)), ["test"]),
        ([], (), ["train", "val", "test"]),
    ],
)
def test_only_subsets_with_samples_get_index_manifests(
    subsets: list[str], available: tuple[tuple[str, ...], ...], missing: list[str]
) -> None:
    frame = manifest(subsets)
    assert available_subsets(frame) == available
    issues = missing_subset_issues(frame, "grouped", AMOS22)
    assert [issue.message for issue in issues] == [
        f"grouped has no {name} samples" for name in missing
    ]
