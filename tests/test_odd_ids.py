"""Ids that look like parts of names: each sample keeps to its own files, from end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mini import QUIET
from phantoms.planting import nifti_gz, plant_scan, relabel, write_file
from roots import assert_same, contents, issues, snapshot, table, voxels

import amos_dask
from amos_dask import Selection
from amos_dask.leaks import find_crossing
from amos_dask.records import by_number
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import Journal, find_journals

IDS = ("1.5", "case", "case-1", "case_2", "case_mask_1", "s2", "s10")  # in order
DEFINITION = """
name: Odd
prefix: odd
volumes: "{id}/image"
masks: "{id}/mask"
subsets: train
labels: {0: background, 1: organ, 2: left mask}
modality: ct
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a folder with an archive, its definition and a finished ROOT_DIR."""
    folder = tmp_path_factory.mktemp("odd")
    for position, name in enumerate(IDS):
        scan = plant_scan("ct", position, seed=5)
        affine = np.diag([*scan.spacing_mm, 1.0])
        write_file(folder / "archive" / name / "image.nii.gz", nifti_gz(scan.volume, affine))
        mask = relabel(scan.mask, {1: (6,), 2: (1,)})
        write_file(folder / "archive" / name / "mask.nii.gz", nifti_gz(mask, affine))
    (folder / "odd.yaml").write_text(DEFINITION, encoding="utf-8")
    run(folder, cluster_address)
    return folder


def run(folder: Path, cluster: str, **options: object) -> amos_dask.RunResult:
    result = amos_dask.run(
        folder / "R",
        folder / "archive",
        dataset=folder / "odd.yaml",
        region_area_thresh=100.0,
        cluster=cluster,
        **QUIET,
        **options,  # type: ignore[arg-type]
    )
    assert result.exit_code == 0, result.issues
    return result


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "odd"))


def manifest(folder: Path) -> Path:
    return folder / "R/grouped/dataset_manifest.xlsx"


def test_samples_are_in_natural_order_and_where_they_belong(made: Path) -> None:
    rows = table(manifest(made))
    assert [row["seq"] for row in rows.values()] == list(IDS)
    assert list(rows) == [f"odd_{name}" for name in IDS]
    assert all((made / "R/grouped" / row["mask_02_left_mask"]).is_file() for row in rows.values())
    layout = Layout.of(made / "R")
    assert Receipts(layout).sample_ids() == sorted(rows, key=by_number)


def test_a_second_run_does_nothing_and_all_is_sound(copied: Path, cluster_address: str) -> None:
    before = contents(copied / "R")
    assert run(copied, cluster_address).reasons == {"complete": len(IDS)}
    assert_same(contents(copied / "R"), before)
    result = amos_dask.verify(copied / "R", full=True, cluster=cluster_address, progress="none")
    assert (result.n_samples, result.exit_code) == (len(IDS), 0)


@pytest.mark.parametrize("name", ["case", "odd_case", "case-1"])
def test_one_that_is_made_anew_leaves_the_others_alone(
    name: str, copied: Path, cluster_address: str
) -> None:
    before = snapshot(copied / "R")
    chosen = run(copied, cluster_address, force=True, selection=Selection((name,)))
    assert chosen.reasons == {"forced": 1}
    after = snapshot(copied / "R")
    assert before.keys() == after.keys()
    kept = [path for path in before if "/restore/" in path]
    assert len(kept) == len(IDS)
    assert not [path for path in kept if before[path] != after[path]]


def test_another_name_of_a_label_moves_its_files_and_keeps_no_copies(
    copied: Path, cluster_address: str
) -> None:
    path = copied / "R/descriptor/label_map.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("left mask", "mask"), "utf-8")
    run(copied, cluster_address)
    names = [path.name for path in (copied / "R").rglob("*_mask.nii.gz")]
    assert sorted(names) == sorted(
        f"odd_{name}{end}.nii.gz" for name in IDS for end in ("_mask", "_mask_02_mask")
    )
    assert not (copied / "R/replaced").exists()


def test_an_edited_mask_is_kept_under_its_sample(copied: Path, cluster_address: str) -> None:
    (path,) = (copied / "R").rglob("odd_case_mask_1_mask.nii.gz")
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[:3, :3, :3] = 2
    nib.save(nib.Nifti1Image(labels, image.affine), path)
    run(copied, cluster_address)
    assert [i["sample"] for i in issues(copied / "R") if i["code"] == "edited_mask"] == [
        "odd_case_mask_1"
    ]
    np.testing.assert_array_equal(voxels(path), labels)


def test_splits_and_leaks_tell_them_apart(copied: Path, cluster_address: str) -> None:
    result = amos_dask.make_split(manifest(copied), kind="kfold", folds=2, stratify=["modality"])
    assert result.frame is not None
    assert list(result.frame["ID"]) == [f"odd_{name}" for name in IDS]
    assert result.frame["split02_kfold2"].notna().all()
    found = amos_dask.leaks(
        copied / "R", split_name="split02_kfold2", cluster=cluster_address, progress="none"
    )
    assert found.exit_code == 0
    before = contents(copied / "R", "grouped")
    run(copied, cluster_address)
    assert_same(before, contents(copied / "R", "grouped"))


def test_what_crosses_a_split_is_told_in_natural_order() -> None:
    parts = {f"s{n}": part for n, part in ((2, "train"), (10, "val"), (9, "val"), (1, "train"))}
    groups = {"s10": "a", "s2": "a", "s9": "b", "s1": "b"}
    members = [leak.members for leak in find_crossing("duplicate_scan", groups, parts)]
    assert members == [(("s1", "train"), ("s9", "val")), (("s2", "train"), ("s10", "val"))]


def test_a_journal_is_of_one_sample(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for name in ("case_a", "case_a-01234567", "case_a+01234567"):
        Journal(layout, name).add_temporaries([tmp_path / f".{name}.part~"])
    found = [journal.path.stem for journal in find_journals(layout, "case_a")]
    assert sorted(found) == ["case_a", "case_a+01234567"]
