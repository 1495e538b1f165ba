"""``leaks``: planted patients and duplicates are all found, and none is invented."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mini import QUIET
from numpy.typing import NDArray
from roots import issues, program, sample_dir, snapshot, table, truncate, voxels

import amos_dask
from amos_dask.engine.events import Event, TaskEnded, WorkStarted
from amos_dask.errors import AmosDaskError
from amos_dask.issues import make_issue
from amos_dask.leaks import find_crossing, find_same_shape, leaks_frame
from amos_dask.phantom import METADATA_NAME

# CT scans 1, 9, 111 are train, 4, 222 val, 50, 333, 500 test; MR scans 507, 508, 501 one of each.
COLUMNS = {"birth": "Patient's Birth Date", "sex": "Patient's Sex", "day": "Acquisition Date"}
CODES = ("patient_crosses_split", "duplicate_scan")


class Planting:
    """An archive in which scans are made to be of one patient, or to have the same voxels."""

    def __init__(self, folder: Path) -> None:
        self.path = amos_dask.write_archive(
            folder, n_ct=8, n_mri=3, size="tiny", seed=11, quirks=False
        ).path
        with (self.path / METADATA_NAME).open(newline="", encoding="utf-8") as file:
            self._rows = list(csv.DictReader(file))  # a row a scan, 1 to 600

    def metadata(self, number: int, **values: str) -> None:
        """Change a scan's row: birth, sex, day, site."""
        row = self._rows[number - 1]
        row |= {COLUMNS.get(name, name.title()): value for name, value in values.items()}

    def save(self) -> None:
        """Write the csv."""
        with (self.path / METADATA_NAME).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self._rows[0]))
            writer.writeheader()
            writer.writerows(self._rows)

    def image(self, number: int) -> Path:
        """Return a scan's file."""
        (path,) = self.path.glob(f"images*/amos_{number:04d}.nii.gz")
        return path

    def values(self, number: int) -> NDArray[Any]:
        """Return a scan's voxels."""
        return np.asarray(nib.load(self.image(number)).dataobj)

    def put(self, number: int, values: NDArray[Any], shift_mm: float = 0.0) -> None:
        """Give a scan other voxels, at another place."""
        image = nib.load(self.image(number))
        affine = image.affine.copy()
        affine[:3, 3] += shift_mm
        nib.save(nib.Nifti1Image(values, affine), self.image(number))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive with leaks, and with what looks like leaks."""
    planting = Planting(tmp_path_factory.mktemp("planted"))
    # patients: by site on another day (train, val); by day at another site (test, train)
    planting.metadata(1, birth="19500101", sex="M", site="center", day="20180101")
    planting.metadata(4, birth="19500101", sex="M", site="center", day="20190202")
    planting.metadata(500, birth="19600202", sex="F", site="center", day="20180303")
    planting.metadata(9, birth="19600202", sex="F", site="people", day="20180303")
    # a patient of an MR scan (val) and a CT scan (test)
    planting.metadata(508, birth="19700303", sex="F", site="people", day="20170101")
    planting.metadata(333, birth="19700303", sex="F", site="people", day="20170501")
    # no leaks: the same subset (train); another sex; nothing known but site and day
    planting.metadata(507, birth="19800404", sex="M", site="people", day="20180101")
    planting.metadata(111, birth="19800404", sex="M", site="people", day="20180101")
    planting.metadata(222, birth="19800404", sex="F", site="people", day="20180101")
    for number in (50, 501):
        planting.metadata(number, birth="", sex="", site="center", day="20180101")
    planting.save()
    # duplicates: as another type and elsewhere (train, test); two of a third (train, val, test)
    planting.put(50, planting.values(1).astype(np.float64), shift_mm=40)
    planting.put(222, planting.values(9).astype(np.int32))
    planting.put(501, planting.values(9))
    # no leaks: the same subset (train); all voxels but one (test)
    planting.put(507, planting.values(111))
    almost = planting.values(4).copy()
    almost.flat[-1] += 1
    planting.put(333, almost)
    return planting.path


PATIENTS = {("amos_0001", "amos_0004"), ("amos_0009", "amos_0500"), ("amos_0333", "amos_0508")}
DUPLICATES = {("amos_0001", "amos_0050"), ("amos_0009", "amos_0222", "amos_0501")}


@pytest.fixture(scope="module")
def made(planted: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR of it that no test changes."""
    root = tmp_path_factory.mktemp("made") / "AMOS22"
    amos_dask.run(root, planted, cluster=cluster_address, **QUIET)
    return root


@pytest.fixture
def copied(made: Path, root: Path) -> Path:
    """Return a copy that a test may change."""
    shutil.copytree(made, root)
    return root


def groups(frame: pd.DataFrame | None, code: str) -> set[tuple[str, ...]]:
    assert frame is not None
    rows = frame[frame["code"] == code]
    return {tuple(found["ID"]) for _, found in rows.groupby("leak")}


# ---------------------------------------------------------------- all, and none besides


def test_the_planting_is_as_it_says(made: Path) -> None:
    rows = table(made / "grouped" / "dataset_manifest.xlsx")
    volumes = {i: voxels(sample_dir(made, i[-4:]) / f"{i}_volume.nii.gz") for i in rows}
    pairs = {
        (one, other)
        for one, other in combinations(sorted(rows), 2)
        if np.array_equal(volumes[one], volumes[other])
        and rows[one]["subset"] != rows[other]["subset"]
    }
    assert pairs == {pair for found in DUPLICATES for pair in combinations(found, 2)}


def test_planted_leaks_are_all_found_and_none_is_invented(made: Path, cluster_address: str) -> None:
    result = amos_dask.leaks(made, cluster=cluster_address, progress="none")
    assert groups(result.frame, "patient_crosses_split") == PATIENTS
    assert groups(result.frame, "duplicate_scan") == DUPLICATES
    assert result.exit_code == 0
    assert {(issue.code, issue.severity) for issue in result.issues} == {
        (code, "info") for code in CODES
    }
    assert result.summary == (
        "3 patients and 2 groups of duplicate scans cross the official split."
    )


def test_an_issue_names_all_scans_and_their_subsets(made: Path, cluster_address: str) -> None:
    found = amos_dask.leaks(made, cluster=cluster_address, progress="none").issues
    (issue,) = [i for i in found if i.sample == "amos_0009" and i.code == "duplicate_scan"]
    assert issue.message == (
        "the same voxels: amos_0009 is in train, amos_0222 is in val, amos_0501 is in test"
    )
    assert (made / issue.file).is_file()
    assert not any(date in issue.message for date in ("1950", "1960"))


def test_a_clean_archive_has_no_leaks(tmp_path: Path, cluster_address: str) -> None:
    archive = amos_dask.write_archive(tmp_path / "clean", n_ct=8, n_mri=4, size="tiny", seed=3)
    root = tmp_path / "AMOS22"
    amos_dask.run(root, archive.path, cluster=cluster_address, **QUIET)
    result = amos_dask.leaks(root, cluster=cluster_address, progress="none")
    assert result.issues == ()
    assert result.frame is not None
    assert result.frame.empty


# ---------------------------------------------------------------- other splits


def test_a_grouped_split_has_no_patients_that_cross(copied: Path, cluster_address: str) -> None:
    path = copied / "grouped" / "dataset_manifest.xlsx"
    for name, group in (("together", "patient"), ("torn", None)):
        for seed in range(20):
            amos_dask.make_split(
                path, split_name=name, kind="kfold", folds=2, seed=seed, group=group,
                unlabelled=True,
            )  # fmt: skip
            result = amos_dask.leaks(
                copied, split_name=name, cluster=cluster_address, progress="none"
            )
            crossing = groups(result.frame, "patient_crosses_split")
            if crossing or group:
                break
        assert bool(crossing) is (group is None)
    assert "split 'torn'" in result.summary


def test_another_split_changes_no_issues(copied: Path, cluster_address: str) -> None:
    amos_dask.make_split(copied / "grouped" / "dataset_manifest.xlsx", kind="kfold", folds=2)
    before = snapshot(copied)
    amos_dask.leaks(copied, split_name="split02_kfold2", cluster=cluster_address, progress="none")
    assert snapshot(copied) == before


def test_a_split_that_does_not_exist_is_named(made: Path) -> None:
    with pytest.raises(AmosDaskError, match="no worksheet 'split09'"):
        amos_dask.leaks(made, split_name="split09")


def test_without_a_manifest_it_says_what_is_missing(root: Path) -> None:
    with pytest.raises(AmosDaskError, match="dataset_manifest"):
        amos_dask.leaks(root)


def test_making_a_split_is_nothing_that_verify_complains_of(
    copied: Path, cluster_address: str
) -> None:
    amos_dask.make_split(copied / "grouped" / "dataset_manifest.xlsx", kind="kfold", folds=2)
    assert amos_dask.verify(copied, cluster=cluster_address, progress="none").exit_code == 0


# ---------------------------------------------------------------- the command


def test_the_command_lists_a_line_each(made: Path, cluster_address: str) -> None:
    said = program("leaks", made, "--cluster", cluster_address, "--quiet").stdout
    lines = [line for line in said.splitlines() if line.startswith(CODES)]
    assert len(lines) == 5
    assert any("amos_0009 is in train" in line and "amos_0501 is in test" in line for line in lines)


def test_as_json_all_of_it_is_one_line(made: Path, cluster_address: str) -> None:
    said = program("leaks", made, "--cluster", cluster_address, "--json").stdout
    last = json.loads(said.splitlines()[-1])
    assert last["issues"] == {"patient_crosses_split": 3, "duplicate_scan": 2}
    assert len(last["found"]) == 5


def test_a_volume_that_cannot_be_read_is_an_error(copied: Path, cluster_address: str) -> None:
    truncate(sample_dir(copied, "0004") / "amos_0004_volume.nii.gz")
    result = amos_dask.leaks(copied, cluster=cluster_address, progress="none")
    assert result.exit_code == 3
    (error,) = [issue for issue in result.issues if issue.severity == "error"]
    assert (error.sample, error.code) == ("amos_0004", "unreadable_volume")
    assert groups(result.frame, "patient_crosses_split") == PATIENTS
    assert groups(result.frame, "duplicate_scan") == DUPLICATES


# ---------------------------------------------------------------- in a run


def leak_issues(root: Path) -> list[dict[str, str]]:
    return [issue for issue in issues(root) if issue["code"] in CODES]


def test_a_run_tells_leaks_for_information(made: Path) -> None:
    found = leak_issues(made)
    assert len(found) == 5
    assert {issue["severity"] for issue in found} == {"info"}


def test_the_command_after_a_run_changes_nothing(copied: Path, cluster_address: str) -> None:
    before = snapshot(copied)
    amos_dask.leaks(copied, cluster=cluster_address, progress="none")
    assert snapshot(copied) == before


def phases(events: Iterable[Event]) -> list[str]:
    return [event.work for event in events if isinstance(event, WorkStarted)]


def test_a_run_with_nothing_to_do_compares_no_scans(
    copied: Path, planted: Path, cluster_address: str
) -> None:
    before, events = snapshot(copied), list[Event]()
    how = QUIET | {"cluster": cluster_address, "progress": events.append}
    amos_dask.run(copied, planted, **how)
    assert phases(events) == []
    assert snapshot(copied) == before


def test_only_scans_with_the_same_checksum_are_unpacked(
    copied: Path, planted: Path, tmp_path: Path, cluster_address: str
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(planted, archive)
    path = archive / "imagesTs" / "amos_0050.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), path)
    events = list[Event]()
    how = QUIET | {"cluster": cluster_address, "progress": events.append}
    amos_dask.run(copied, archive, **how)
    unpacked = {e.name for e in events if isinstance(e, TaskEnded) and e.work == "compare"}
    assert unpacked == {f"amos_{n:04d}" for n in (9, 222, 501, 111, 507)}  # no more 1 and 50
    assert len(leak_issues(copied)) == 4


def test_scans_that_could_not_be_compared_are_compared_by_the_next_run(
    root: Path, planted: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = make_issue("unreadable_volume", "cannot be read", sample="amos_0004")
    with monkeypatch.context() as patched:
        patched.setattr(
            sys.modules["amos_dask.leaks"], "_find_same_voxels", lambda *_: ({}, [error])
        )
        first = amos_dask.run(root, planted, cluster=cluster_address, **QUIET)
    assert first.exit_code == 3
    assert len(leak_issues(root)) == 3
    second = amos_dask.run(root, planted, cluster=cluster_address, **QUIET)
    assert second.exit_code == 0
    assert len(leak_issues(root)) == 5


def test_a_leak_that_was_mended_is_not_told_any_more(
    copied: Path, planted: Path, tmp_path: Path, cluster_address: str
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(planted, archive)
    path = archive / METADATA_NAME
    path.write_text(path.read_text().replace("19500101", "19500109", 1))
    amos_dask.run(copied, archive, cluster=cluster_address, **QUIET)
    found = leak_issues(copied)
    assert [i for i in found if i["sample"] == "amos_0001"] == [
        i for i in found if i["code"] == "duplicate_scan" and i["sample"] == "amos_0001"
    ]
    assert len(found) == 4


# ---------------------------------------------------------------- the tables behind it

ids = st.sampled_from([f"amos_{number:04d}" for number in range(1, 9)])
few = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@few
@given(
    st.dictionaries(ids, st.sampled_from("abc")),
    st.dictionaries(ids, st.sampled_from(["train", "val", "test"])),
)
def test_a_group_crosses_when_two_of_it_are_in_different_parts(
    grouped: dict[str, str], parts: dict[str, str]
) -> None:
    found = find_crossing("duplicate_scan", grouped, parts)
    crossing = {
        grouped[one]
        for one in grouped
        for other in grouped
        if grouped[one] == grouped[other]
        and one in parts
        and other in parts
        and parts[one] != parts[other]
    }
    assert len(found) == len(crossing)
    listed = {pair for leak in found for pair in leak.members}
    assert listed == {(i, parts[i]) for i in grouped if i in parts and grouped[i] in crossing}
    assert [leak.members for leak in found] == sorted(leak.members for leak in found)
    assert len(leaks_frame(found)) == len(listed)


def test_only_scans_of_one_shape_are_compared() -> None:
    rows = pd.DataFrame(
        [("a", "v", 1, 2, 3), ("b", "v", 3, 2, 1), ("c", "v", 1, 2, 3), ("d", None, 1, 2, 3),
         ("e", "v", None, 2, 1), ("f", "v", None, 2, 1)],
        columns=["ID", "volume", "szx", "szy", "szz"],
    )  # fmt: skip
    assert find_same_shape(rows) == ["a", "c"]
