"""Samples of which the archive has nothing left: they stay, are said, and go with ``--prune``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mini import QUIET
from roots import (
    BARE,
    contents,
    ct_archive,
    errors,
    issues,
    program,
    put_back,
    sample_dir,
    snapshot,
    table,
)

import amos_dask


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes."""
    return ct_archive(tmp_path_factory.mktemp("source"), 11, has_val=True)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a copy of a ROOT_DIR after a run, with its archive inside."""
    root = tmp_path_factory.mktemp("made") / "AMOS22"
    shutil.copytree(source, root / "archive")
    program("run", root, "--cluster", cluster_address, "--quiet", *BARE)
    return Path(shutil.copytree(root, root.with_name("kept")))


class Place:
    """A ROOT_DIR with its archive that a test may change."""

    def __init__(self, root: Path, cluster: str) -> None:
        self.root, self.archive = root, root / "archive"
        self._cluster = ("--cluster", cluster)

    def run(self, *words: str | Path, exit_code: int = 0) -> str:
        """Run, and return what was said in one line."""
        done = program("run", self.root, *words, *self._cluster, *BARE, exit_code=exit_code)
        return " ".join(done.output.split())

    def withdraw(self, *names: str, listing: bool = True) -> None:
        """Take samples out of the archive, and where asked for out of its ``dataset.json``."""
        for name in names:
            for path in self.archive.rglob(f"{name}*.nii.gz"):
                path.unlink()
        if listing:
            path = self.archive / "dataset.json"
            content = json.loads(path.read_text(encoding="utf-8"))
            for key in ("training", "validation", "test"):
                entries = content.get(key, [])
                content[key] = [e for e in entries if not any(n in str(e) for n in names)]
            path.write_text(json.dumps(content), encoding="utf-8")

    def told(self, code: str) -> dict[str, str]:
        """Return sample -> severity of the issues of a code."""
        return {i["sample"]: i["severity"] for i in issues(self.root) if i["code"] == code}

    def samples(self, workbook: str = "dataset_manifest.xlsx") -> set[str]:
        """Return the samples of a manifest."""
        return set(table(self.root / "grouped" / workbook))


@pytest.fixture
def place(made: Path, cluster_address: str) -> Place:
    """Return a place after a good run."""
    return Place(put_back(made, made.with_name("AMOS22")), cluster_address)


def test_a_withdrawn_sample_stays_and_is_said(place: Place) -> None:
    before = contents(place.root, "grouped")
    place.withdraw("amos_0009")
    place.run()
    assert place.told("not_in_archive") == {"amos_0009": "warning"}
    assert contents(place.root, "grouped") == before
    place.run("--ids", "1")
    assert place.told("not_in_archive") == {"amos_0009": "warning"}


def test_a_sample_that_is_back_is_said_no_more(place: Place, made: Path) -> None:
    place.withdraw("amos_0009")
    place.run()
    shutil.copytree(made / "archive", place.archive, dirs_exist_ok=True)
    assert "11 samples complete before" in place.run()
    assert not place.told("not_in_archive")
    assert contents(place.root) == contents(made)


def test_many_that_leave_at_once_are_an_error(place: Place) -> None:
    place.withdraw("amos_0009", "amos_0001")
    place.run(exit_code=3)
    assert place.told("not_in_archive") == {"amos_0001": "error", "amos_0009": "error"}


def test_a_folder_that_is_absent_for_a_moment_costs_nothing(place: Place, made: Path) -> None:
    """Its scans are listed in ``dataset.json``; ``--prune`` does not mean them."""
    absent = {path.name[:9] for path in (place.archive / "imagesTr").glob("amos_*")}
    for folder in ("imagesTr", "labelsTr"):
        shutil.rmtree(place.archive / folder)
    before = contents(place.root, "grouped")
    for words in ((), ("--prune",)):
        place.run(*words, exit_code=3)
        assert errors(place.root) == {(name, "source_missing") for name in absent}
        assert contents(place.root, "grouped") == before
    shutil.copytree(made / "archive", place.archive, dirs_exist_ok=True)
    place.run()
    assert contents(place.root) == contents(made)


def test_masks_that_are_absent_for_a_moment_stay(place: Place) -> None:
    shutil.rmtree(place.archive / "labelsTr")
    kept = {
        name[:9] for name in (path.name for path in (place.root / "grouped").rglob("*_mask.n*"))
    }
    plan = amos_dask.plan_run(place.root, filter_halfedge=4)
    rows = plan.samples[plan.samples["reason"] == "changed"]
    assert {todo for name, todo in zip(rows["ID"], rows["todo"], strict=True) if name in kept} == {
        "kept",
        "masks",
    }
    n_made = sum(rows["todo"] == "masks")
    are = "the masks of 1 sample are" if n_made == 1 else f"the masks of {n_made} samples are"
    assert plan.changes == f"filter_halfedge 3 -> 4: {are} made anew"
    before = snapshot(place.root / "grouped")
    place.run(exit_code=3)
    after = snapshot(place.root / "grouped")
    assert {n: b for n, b in before.items() if n.endswith("gz")}.items() <= after.items()


def test_issues_of_a_withdrawn_sample_stay(place: Place) -> None:
    name = next(i["sample"] for i in issues(place.root) if i["code"] == "affine_repaired")
    before = [i for i in issues(place.root) if i["sample"] == name and i["file"][:6] == "labels"]
    place.withdraw(name)
    place.run()
    assert [i for i in before if i not in issues(place.root)] == []


def test_prune_removes_what_is_ours_and_keeps_volume_and_mask(place: Place) -> None:
    place.run("--archive", place.archive)
    folder = sample_dir(place.root / "grouped", "0009")
    kept = {name: (folder / name).read_bytes() for name in _kept("amos_0009")}
    mine = folder / "notes.txt"
    mine.write_text("mine", encoding="utf-8")
    place.withdraw("amos_0009")
    place.run("--prune")
    (aside,) = (place.root / "replaced").glob("*")
    below = aside / folder.relative_to(place.root)
    assert {path.name: path.read_bytes() for path in below.iterdir()} == kept
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert "amos_0009" not in place.samples() | place.samples(
        "AMOS-CT/dataset_manifest_amos_ct.xlsx"
    )
    assert list((place.root / ".amos-dask").rglob("*amos_0009*")) == []
    assert place.told("replaced") == {"amos_0009": "warning"}
    mine.unlink()
    folder.rmdir()
    place.run()
    assert not any(i["sample"] == "amos_0009" for i in issues(place.root))
    assert "sound" in program("verify", place.root, "--cluster", place._cluster[1]).output


def _kept(name: str) -> tuple[str, str]:
    return f"{name}_mask.nii.gz", f"{name}_volume.nii.gz"


def test_prune_leaves_an_altered_file_in_replaced(place: Place) -> None:
    folder = sample_dir(place.root / "grouped", "0009")
    mask = folder / "amos_0009_mask_06_liver.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 0, image.affine), mask)
    altered = mask.read_bytes()
    place.withdraw("amos_0009")
    place.run("--prune")
    (aside,) = (place.root / "replaced").rglob(mask.name)
    assert aside.read_bytes() == altered
    assert not folder.exists()


def test_prune_names_the_exports_that_hold_a_sample(place: Place) -> None:
    cluster = ("--cluster", place._cluster[1], "--quiet")
    for name, ids in (("holder", "9"), ("other", "1")):
        words = ("--root_dir", place.root, "--ids", ids, *cluster)
        program("export", "nnunet", place.root.with_name(name), *words)
    place.withdraw("amos_0009")
    said: list[object] = []
    how = QUIET | {"cluster": place._cluster[1], "progress": said.append}
    amos_dask.run(place.root, prune=True, **how)
    assert any("amos_0009: removed" in str(e) and "exports ../holder/" in str(e) for e in said)
    (issue,) = (i for i in issues(place.root) if i["code"] == "replaced")
    assert "exports ../holder/" in issue["action"]
    assert "../other/" not in issue["action"]


def test_prune_of_a_part_is_refused(place: Place) -> None:
    place.withdraw("amos_0009")
    before = snapshot(place.root)
    assert "--prune" in place.run("--prune", "--ids", "1", exit_code=1)
    assert snapshot(place.root) == before


def test_a_dry_run_says_what_is_absent_and_what_would_go(place: Place) -> None:
    place.withdraw("amos_0009")
    before = snapshot(place.root)
    for prune, todo in ((False, ""), (True, "removal")):
        rows = amos_dask.plan_run(place.root, prune=prune).samples.set_index("ID")
        assert list(rows.loc["amos_0009", ["subset", "reason", "todo"]]) == [
            "train",
            "absent",
            todo,
        ]
    assert "1 finished sample" in place.run("--dry_run")
    assert snapshot(place.root) == before


def test_pruning_keeps_what_was_edited_by_hand(tmp_path: Path, cluster_address: str) -> None:
    archive = ct_archive(tmp_path / "ph", 2, seed=1)
    root, words = tmp_path / "R", ("--cluster", cluster_address, "--quiet", *BARE)
    program("run", root, "--archive", archive, *words)
    (info,) = root.rglob("amos_0001_info.yaml")
    edited = info.read_text(encoding="utf-8").replace("site: '", "site: 'ward ")
    info.write_text(edited, encoding="utf-8")
    program("run", root, "--archive", archive, *words)
    for path in archive.rglob("amos_0001.nii.gz"):
        path.unlink()
    (archive / "dataset.json").unlink()
    program("run", root, "--archive", archive, "--prune", *words)
    assert not info.exists()
    (kept,) = (root / "replaced").rglob("amos_0001_info.yaml")
    assert kept.read_text(encoding="utf-8") == edited


def test_a_damaged_dataset_json_prunes_nothing(tmp_path: Path, cluster_address: str) -> None:
    archive = ct_archive(tmp_path / "ph", 2, seed=1)
    root, words = tmp_path / "R", ("--cluster", cluster_address, "--quiet", *BARE)
    program("run", root, "--archive", archive, *words)
    before = snapshot(root / "grouped" / "AMOS-CT" / "train")
    for path in archive.rglob("amos_0001.nii.gz"):
        path.unlink()
    (archive / "dataset.json").write_text("{", encoding="utf-8")
    program("run", root, "--archive", archive, "--prune", *words, exit_code=3)
    assert snapshot(root / "grouped" / "AMOS-CT" / "train") == before
    assert ("amos_0001", "source_missing") in errors(root)
