"""``make-split`` of one's own: folds and holdouts, their worksheets, and how they were made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from roots import write_workbook

import amos_dask
from amos_dask.errors import AmosDaskError, ManifestError
from amos_dask.tables.assignments import find_patients
from amos_dask.tables.splits import SPLIT_COLUMNS
from amos_dask.tables.workbook import read_sheet, sheet_names

OFFICIAL = "split01_standard"
FIVE = "split02_kfold5"


def manifest(n_samples: int = 40) -> pd.DataFrame:
    """Return samples of which every second has the next one's patient and every fourth no mask."""
    numbers = [n + 1 if n % 3 else n + 501 for n in range(n_samples)]
    return pd.DataFrame(
        {
            "ID": [f"amos_{n:04d}" for n in numbers],
            "seq": [f"{n:04d}" for n in numbers],
            "sex": ["M" if i % 4 < 2 else "F" for i in range(n_samples)],
            "subset": ["train" if i % 4 else "test" for i in range(n_samples)],
            "manufacturer_model_name": [("Prisma", "UND", None)[i % 3] for i in range(n_samples)],
            "birth_date": [f"1961{1 + i // 56:02d}{1 + i // 2 % 28:02d}" for i in range(n_samples)],
            "acquisition_date": "20190115",
            "site": "center",
            "volume": "v.nii.gz",
            "mask": ["m.nii.gz" if i % 4 else None for i in range(n_samples)],
            "szx": range(n_samples),
        },
        dtype=object,
    )


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    path = tmp_path / "grouped" / "dataset_manifest.xlsx"
    write_workbook(path, {"Manifest": manifest()})
    return path


def parts(path: Path, name: str) -> dict[str, str]:
    """Return ID -> part of a split's worksheet."""
    frame = read_sheet(path, name)
    given = frame[frame[name].notna()]
    return dict(zip(given["ID"], given[name], strict=True))


def listed(path: Path) -> dict[str, Mapping[Any, Any]]:
    frame = read_sheet(path, "Splits")
    assert list(frame.columns) == list(SPLIT_COLUMNS)
    return {row["name"]: row for row in frame.to_dict("records")}


# ---------------------------------------------------------------- worksheets


def test_a_kfold_is_a_worksheet_with_a_last_column_of_folds(workbook: Path) -> None:
    result = amos_dask.make_split(workbook, kind="kfold")
    assert sheet_names(workbook) == ["Manifest", FIVE, "Splits"]
    frame = read_sheet(workbook, FIVE)
    assert list(frame.columns) == [*manifest().columns, FIVE]
    pd.testing.assert_frame_equal(frame.iloc[:, :-1], read_sheet(workbook, "Manifest"))
    assert Counter(frame[FIVE].dropna()) == {f"fold{n}": 6 for n in range(5)}
    assert result.frame is not None
    assert result.frame[FIVE].tolist() == frame[FIVE].tolist()


def test_samples_without_masks_are_in_no_fold_unless_asked_for(workbook: Path) -> None:
    said = amos_dask.make_split(workbook, kind="kfold").summary
    frame = read_sheet(workbook, FIVE)
    assert (frame[FIVE].isna() == frame["mask"].isna()).all()
    assert "10 in none" in said
    amos_dask.make_split(workbook, kind="kfold", unlabelled=True, split_name="all")
    assert len(parts(workbook, "all")) == 40


def test_a_holdout_is_train_val_and_test(workbook: Path) -> None:
    amos_dask.make_split(workbook, kind="holdout", fractions=(0.5, 0.2, 0.3))
    assert Counter(parts(workbook, "split02_holdout").values()) == {
        "train": 15,
        "val": 6,
        "test": 9,
    }
    amos_dask.make_split(workbook, kind="holdout", fractions=[0.8, 0.2])
    assert Counter(parts(workbook, "split03_holdout").values()) == {"train": 24, "val": 6}


def test_patients_stay_together(workbook: Path) -> None:
    amos_dask.make_split(workbook, kind="kfold", group="patient", unlabelled=True, seed=3)
    assigned = parts(workbook, FIVE)
    by_patient: dict[str, set[str]] = {}
    for sample_id, patient in find_patients(manifest()).items():
        by_patient.setdefault(patient, set()).add(assigned[sample_id])
    assert len(by_patient) == 20
    assert {len(found) for found in by_patient.values()} == {1}
    amos_dask.make_split(workbook, kind="kfold", unlabelled=True, seed=3, split_name="torn")
    torn = parts(workbook, "torn")
    assert any(torn[i] != torn[patient] for i, patient in find_patients(manifest()).items())


@pytest.mark.parametrize(
    ("stratify", "column"),
    [
        (["sex"], lambda row: row["sex"]),
        (["scanner"], lambda row: row["manufacturer_model_name"] or "UND"),
        (["modality"], lambda row: row["seq"] > "0500"),
    ],
)
def test_folds_get_their_share_of_each_stratum(
    workbook: Path, stratify: list[str], column: Any
) -> None:
    amos_dask.make_split(workbook, kind="kfold", stratify=stratify)
    assigned = parts(workbook, FIVE)
    strata: dict[Any, Counter[str]] = {}
    for row in manifest().to_dict("records"):
        if row["ID"] in assigned:
            strata.setdefault(column(row), Counter())[assigned[row["ID"]]] += 1
    assert len(strata) == 2
    for counts in strata.values():
        found = [counts[f"fold{n}"] for n in range(5)]
        assert max(found) - min(found) <= 1


def test_the_order_of_the_rows_does_not_matter(workbook: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.xlsx"
    write_workbook(other, {"Manifest": manifest().iloc[::-1]})
    how: dict[str, Any] = {
        "kind": "kfold",
        "seed": 5,
        "stratify": ["sex", "scanner"],
        "group": "patient",
    }
    for path in (workbook, other):
        amos_dask.make_split(path, **how)
    assert parts(workbook, FIVE) == parts(other, FIVE)
    assert listed(workbook) == listed(other)


# ---------------------------------------------------------------- the list of splits


def test_it_is_written_down_how_a_split_was_made(workbook: Path) -> None:
    said = amos_dask.make_split(
        workbook, kind="kfold", folds=3, seed=7, stratify=["modality", "sex"], group="patient"
    ).summary
    lines = sorted(f"{i},{part}\n" for i, part in parts(workbook, "split02_kfold3").items())
    sha256 = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert listed(workbook) == {
        "split02_kfold3": {
            "name": "split02_kfold3",
            "kind": "kfold",
            "parts": "3",
            "seed": 7,
            "stratify": "sex,modality",
            "group": "patient",
            "samples": "labelled",
            "n_samples": 30,
            "sha256": sha256,
        }
    }
    assert sha256 in said


def test_the_official_split_alone_is_not_listed(workbook: Path) -> None:
    said = amos_dask.make_split(workbook).summary
    assert sheet_names(workbook) == ["Manifest", OFFICIAL]
    assert "sha256 " in said
    amos_dask.make_split(workbook, kind="kfold")
    amos_dask.make_split(workbook)
    assert list(listed(workbook)) == [OFFICIAL, FIVE]
    assert listed(workbook)[OFFICIAL]["sha256"] in said


def test_the_same_again_replaces_and_another_gets_the_next_number(workbook: Path) -> None:
    for _ in range(2):
        amos_dask.make_split(workbook)
        amos_dask.make_split(workbook, kind="kfold")
        amos_dask.make_split(workbook, kind="kfold", seed=1)
        amos_dask.make_split(workbook, kind="holdout", group="patient")
    names = [OFFICIAL, FIVE, "split03_kfold5", "split04_holdout"]
    assert sorted(sheet_names(workbook)) == sorted(["Manifest", "Splits", *names])
    assert list(listed(workbook)) == names


def test_a_name_of_ones_own_is_taken_as_it_is(workbook: Path) -> None:
    amos_dask.make_split(workbook, kind="kfold", split_name="split07_mine")
    amos_dask.make_split(workbook, kind="kfold")  # made in the same way before
    assert sheet_names(workbook) == ["Manifest", "split07_mine", "Splits"]
    amos_dask.make_split(workbook, kind="kfold", seed=1)
    assert "split08_kfold5" in sheet_names(workbook)
    amos_dask.make_split(workbook, kind="holdout", split_name="split07_mine")
    assert listed(workbook)["split07_mine"]["kind"] == "holdout"


def test_a_split_that_was_removed_is_not_listed_any_more(workbook: Path) -> None:
    amos_dask.make_split(workbook, kind="kfold")
    write_workbook(workbook, {"Manifest": manifest(), "Splits": read_sheet(workbook, "Splits")})
    amos_dask.make_split(workbook, kind="holdout")
    assert list(listed(workbook)) == ["split02_holdout"]


def test_a_worksheet_of_somebody_elses_named_splits_is_not_overwritten(workbook: Path) -> None:
    write_workbook(workbook, {"Manifest": manifest(), "splits": pd.DataFrame({"name": ["mine"]})})
    before = workbook.read_bytes()
    with pytest.raises(ManifestError, match="column 'kind' is missing"):
        amos_dask.make_split(workbook, kind="kfold")
    assert workbook.read_bytes() == before


# ---------------------------------------------------------------- index manifests


def test_folds_can_be_indexed(workbook: Path, tmp_path: Path) -> None:
    amos_dask.make_split(workbook, kind="kfold", folds=3)
    name = "split02_kfold3"
    subsets = [["fold1", "fold2"], ["fold0"]]
    outputs = amos_dask.index_manifests(
        workbook, tmp_path / name, split_name=name, subsets=subsets
    ).outputs
    assert [path.name for path in outputs] == [f"{name}_fold1_fold2.xlsx", f"{name}_fold0.xlsx"]
    found = [set(read_sheet(path, "Manifest")["ID"]) for path in outputs]
    assert not found[0] & found[1]
    assert found[0] | found[1] == set(parts(workbook, name))


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "random"}, "kind: 'random' is not known"),
        ({"kind": "kfold", "stratify": ["age"]}, "stratify: 'age' is not known"),
        ({"kind": "kfold", "group": "site"}, "group: 'site' is not known"),
        ({"kind": "kfold", "fractions": [0.5, 0.5]}, "'kfold' takes no fractions"),
        ({"kind": "holdout", "folds": 5}, "'holdout' takes no folds"),
        ({"seed": 0}, "'official' takes no seed"),
        ({"group": "patient", "unlabelled": True}, "'official' takes no group and no unlabelled"),
        ({"kind": "kfold", "folds": 1}, "folds"),
        ({"kind": "holdout", "fractions": [1, 1]}, "sum 1"),
        ({"kind": "kfold", "folds": 31}, "31 parts .* there are 30 "),
        ({"kind": "kfold", "folds": 21, "group": "patient"}, "21 parts .* there are 20 "),
        ({"kind": "kfold", "split_name": "Splits"}, "cannot be named"),
        ({"kind": "kfold", "split_name": "splits"}, "cannot be named"),
        ({"kind": "kfold", "split_name": "sex"}, "like the column"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    workbook: Path, options: dict[str, Any], message: str
) -> None:
    before = workbook.read_bytes()
    with pytest.raises(AmosDaskError, match=message):
        amos_dask.make_split(workbook, **options)
    assert workbook.read_bytes() == before


@pytest.mark.parametrize("column", ["sex", "manufacturer_model_name", "mask", "site"])
def test_a_manifest_without_a_needed_column_is_refused(workbook: Path, column: str) -> None:
    write_workbook(workbook, {"Manifest": manifest().drop(columns=column)})
    with pytest.raises(ManifestError, match=f"column '{column}' is missing"):
        amos_dask.make_split(workbook, kind="kfold", group="patient")


def test_an_id_with_two_rows_is_refused(workbook: Path) -> None:
    write_workbook(workbook, {"Manifest": pd.concat([manifest()] * 2)})
    with pytest.raises(ManifestError, match="'amos_0002' has two rows"):
        amos_dask.make_split(workbook, kind="kfold")


def test_blank_rows_at_the_end_are_no_samples(workbook: Path) -> None:
    frame = manifest()
    frame.loc[len(frame)] = None
    write_workbook(workbook, {"Manifest": frame})
    amos_dask.make_split(workbook, kind="kfold", unlabelled=True)
    assert len(parts(workbook, FIVE)) == 40
