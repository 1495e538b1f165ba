"""Exports of a split of one's own: every fold in nnU-Net's and MONAI's form, and kept up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amos_dask import CommandResult, Selection, export_monai, export_nnunet, make_split, verify
from amos_dask.errors import AmosDaskError
from amos_dask.export.wanted import make_folds
from amos_dask.root.layout import Layout
from amos_dask.tables.workbook import read_sheet

Export = Callable[..., CommandResult]


@pytest.fixture
def root(changed_root: Path) -> Path:
    return changed_root


@pytest.fixture
def nnunet(cluster_address: str, tmp_path: Path) -> Export:
    def export(root: Path, **options: Any) -> CommandResult:
        raw = tmp_path / "raw"
        return export_nnunet(root, raw, cluster=cluster_address, progress="none", **options)

    return export


@pytest.fixture
def monai(cluster_address: str, tmp_path: Path) -> Export:
    def export(root: Path, **options: Any) -> CommandResult:
        file = tmp_path / "a.json"
        return export_monai(root, file, cluster=cluster_address, progress="none", **options)

    return export


def split(root: Path, modality: str | None = None, **options: Any) -> dict[str, str]:
    """Make a split and return sample -> part."""
    path = Layout(root).dataset_manifest(modality)
    make_split(path, seed=0, **options)
    name = openpyxl.load_workbook(path).sheetnames[-2]  # before Splits
    rows = read_sheet(path, name)
    return {i: p for i, p in zip(rows["ID"], rows[name], strict=True) if p is not None}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_all_folds_are_in_splits_final(root: Path, nnunet: Export, tmp_path: Path) -> None:
    parts = split(root, kind="kfold", folds=4)
    assert len(parts) == 8
    result = nnunet(root, split_name="split02_kfold4")
    folds = read(tmp_path / "raw/Dataset622_AMOS22/splits_final.json")
    assert len(folds) == 4
    for number, fold in enumerate(folds):
        assert sorted(fold["val"]) == sorted(i for i, p in parts.items() if p == f"fold{number}")
        assert sorted(fold["train"] + fold["val"]) == sorted(parts)
    assert result.summary.startswith("8 labelled and 4 test scans; split02_kfold4: fold0 2, ")


def test_the_same_export_again_goes_on_with_the_split_and_says_so(
    root: Path, nnunet: Export, tmp_path: Path
) -> None:
    split(root, kind="kfold", folds=4)
    nnunet(root, split_name="split02_kfold4")
    path = tmp_path / "raw/Dataset622_AMOS22/splits_final.json"
    before = read(path)
    again = nnunet(root)
    assert read(path) == before
    assert "split02_kfold4" in again.summary
    assert "--split_name split01_standard" in again.summary
    nnunet(root, split_name="split01_standard")
    (official,) = read(path)
    assert (len(official["train"]), len(official["val"])) == (5, 3)
    nnunet(root)
    assert read(path) == [official]


def test_where_there_is_no_official_split_that_is_said(root: Path, nnunet: Export) -> None:
    result = nnunet(root, selection=Selection(subset="train"))
    assert "no official split, nnU-Net makes folds of its own" in result.summary
    assert result.issues == ()


def test_of_one_fold_the_export_warns_unless_a_split_was_asked_for(
    root: Path, nnunet: Export, monai: Export
) -> None:
    for export in (nnunet, monai):
        (issue,) = export(root).issues
        assert (issue.code, issue.severity) == ("only_fold", "warning")
        assert "fold 0, which trains on 5 and validates on 3" in issue.message
        assert "--split_name" in issue.action
        assert export(root, split_name="split01_standard").issues == ()


def test_the_datalist_has_the_folds_keys(root: Path, monai: Export, tmp_path: Path) -> None:
    parts = split(root, kind="kfold", folds=4)
    monai(root, split_name="split02_kfold4")
    listed = read(tmp_path / "a.json")
    folds = {Path(e["label"]).name[:9]: f"fold{e['fold']}" for e in listed["training"]}
    assert folds == parts
    assert len(listed["testing"]) == 4


def test_parts_to_test_on_are_neither_trained_nor_validated_on(
    root: Path, nnunet: Export, monai: Export, tmp_path: Path
) -> None:
    parts = split(root, kind="holdout", fractions=(0.5, 0.25, 0.25))
    of = {part: {i for i, p in parts.items() if p == part} for part in ("train", "val", "test")}
    assert all(of.values())
    nnunet(root, split_name="split02_holdout")
    (fold,) = read(tmp_path / "raw/Dataset622_AMOS22/splits_final.json")
    assert (set(fold["train"]), set(fold["val"])) == (of["train"], of["val"])
    monai(root, split_name="split02_holdout")
    listed = read(tmp_path / "a.json")
    assert {Path(e["label"]).name[:9] for e in listed["testing"] if "label" in e} == of["test"]
    assert {e["fold"] for e in listed["training"]} == {0, 1}


def test_a_modality_alone_takes_the_split_of_its_own_manifest(
    root: Path, nnunet: Export, tmp_path: Path
) -> None:
    split(root, kind="kfold", folds=4)
    parts = split(root, "ct", kind="kfold", folds=2)
    nnunet(root, split_name="split02_kfold2", selection=Selection(modality="ct"))
    folds = read(tmp_path / "raw/Dataset623_AMOS22CT/splits_final.json")
    assert [set(fold["val"]) for fold in folds] == [
        {i for i, p in parts.items() if p == f"fold{n}"} for n in (0, 1)
    ]


def test_a_split_that_changes_outdates_the_export(
    root: Path, nnunet: Export, tmp_path: Path, cluster_address: str
) -> None:
    split(root, kind="kfold", folds=4)
    nnunet(root, split_name="split02_kfold4")
    folder = tmp_path / "raw/Dataset622_AMOS22"
    assert verify(folder, progress="none").issues == ()
    path = Layout(root).dataset_manifest()
    book = openpyxl.load_workbook(path)
    sheet = book["split02_kfold4"]
    row, column = next((r, sheet.max_column) for r in range(2, 99) if sheet.cell(r, 1).value)
    moved = str(sheet.cell(row, 1).value)
    sheet.cell(row, column).value = None
    book.save(path)
    found = verify(folder, progress="none").issues
    assert [issue.code for issue in found] == ["outdated_export"]
    again = nnunet(root, split_name="split02_kfold4")
    assert [i.code for i in again.issues if i.severity == "warning"] == ["unassigned_sample"]
    assert moved in again.issues[0].message
    folds = read(folder / "splits_final.json")
    assert all(moved not in fold["train"] + fold["val"] for fold in folds)
    assert verify(folder, progress="none").issues == ()


@pytest.mark.parametrize("name", ["split09_none", "Manifest"])
def test_what_is_no_split_is_said(root: Path, nnunet: Export, name: str, tmp_path: Path) -> None:
    with pytest.raises(AmosDaskError, match=name):
        nnunet(root, split_name=name)
    assert not (tmp_path / "raw").exists()


def test_a_split_without_folds_is_refused_before_anything_is_written(
    root: Path, nnunet: Export, tmp_path: Path
) -> None:
    split(root, kind="holdout", fractions=(0.5, 0.25, 0.25))
    path = Layout(root).dataset_manifest()
    book = openpyxl.load_workbook(path)
    sheet = book["split02_holdout"]
    for row in range(2, sheet.max_row + 1):
        cell = sheet.cell(row, sheet.max_column)
        cell.value = "train" if cell.value == "val" else cell.value
    book.save(path)
    with pytest.raises(AmosDaskError, match="nnU-Net needs fold0"):
        nnunet(root, split_name="split02_holdout")
    assert not (tmp_path / "raw").exists()


parts_of_cases = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.sampled_from(["fold0", "fold1", "fold7", "train", "val", "test"]),
    max_size=12,
)


@given(parts=parts_of_cases)
def test_nobody_is_trained_and_validated_on_in_one_fold(parts: dict[str, str]) -> None:
    folds = make_folds(parts)
    for fold in folds:
        assert not set(fold["train"]) & set(fold["val"])
        assert {*fold["train"], *fold["val"]} == {c for c, p in parts.items() if p != "test"}
        assert fold["train"]
        assert fold["val"]
    validated = [case for fold in folds for case in fold["val"]]
    assert len(validated) == len(set(validated))
