"""Labels that denoising takes away as a whole are named, by every command and run after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from roots import BARE, issues, program, sample_dir, snapshot, voxels

from amos_dask.datasets import AMOS22
from amos_dask.records import find_difference
from amos_dask.steps.denoise import check_vanished
from amos_dask.steps.mask_labels import labels_present

Mask = NDArray[np.uint8]
quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
masks = hnp.arrays(np.uint8, (3, 2, 2), elements=st.sampled_from([0, 1, 2, 11]))
SPACING = np.diag([-0.8, -0.8, 5.0, 1.0])
ADRENAL = ("amos_0001", "label_vanished", "172.80 mm3 of label 11 (right adrenal gland)")


def empty() -> Mask:
    return np.zeros((48, 40, 8), np.uint8)


def write_archive(folder: Path, **labels: Mask) -> Path:
    """Write an archive of CT 1, 2, … with these masks."""
    rng = np.random.default_rng(1)
    for number, mask in enumerate(labels.values(), 1):
        scan = rng.integers(-1000, 1000, mask.shape).astype(np.int16)
        for kind, array in (("imagesTr", scan), ("labelsTr", mask)):
            path = folder / kind / f"amos_{number:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, SPACING), path)
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return an archive: a liver and an adrenal gland in 1, an adrenal gland alone in 2."""
    both, alone = empty(), empty()
    both[4:20, 8:28, 1:-1] = 6
    both[30:33, 10:13, 1:-1] = 11
    alone[20:23, 20:23, 3:5] = 11
    return write_archive(tmp_path / "archive", both=both, alone=alone)


class Place:
    """A ROOT_DIR and the cluster that its commands run on."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self.root, self.archive = folder / "R", folder / "archive"
        self.grouped = self.root / "grouped"
        self._cluster = ("--cluster", cluster)

    def run(self, *options: str | Path) -> str:
        where = ("--archive", self.archive, *self._cluster, *BARE)
        return program("run", self.root, *where, *options).output

    def step(self, name: str, *options: str | Path) -> str:
        return program(name, "--root_dir", self.grouped, *options, *self._cluster).output

    def denoise(self, *options: str | Path) -> str:
        return self.step("denoise", "--output_dir", self.grouped, *options)

    def told(self) -> list[tuple[str, str, str]]:
        """Return sample, code and what is gone, of losses."""
        return [
            (
                found["sample"],
                found["code"],
                found["message"].removeprefix("denoising took away all "),
            )
            for found in issues(self.root)
            if found["code"] in {"label_vanished", "empty_mask"}
        ]


@pytest.fixture
def place(archive: Path, cluster_address: str) -> Place:
    return Place(archive.parent, cluster_address)


def test_what_is_gone_is_told_by_every_run(place: Place) -> None:
    expected = [
        ADRENAL,
        ("amos_0002", "empty_mask", "the mask holds background only"),
        ("amos_0002", "label_vanished", "57.60 mm3 of label 11 (right adrenal gland)"),
    ]
    for command in (place.run, place.run, lambda: place.step("binary-masks"), place.run):
        said = command()  # the second run skips both samples
        assert place.told() == expected
        if "complete" not in said:
            continue
        for sample, code, message in expected:
            (line,) = (line for line in said.splitlines() if sample in line and code in line)
            assert line.startswith("warning: ")
            assert line.endswith(message)
    (last,) = place.run("--json").strip().splitlines()[-1:]
    assert (
        json.loads(last)["issues"] | {"label_vanished": 2, "empty_mask": 1}
        == json.loads(last)["issues"]
    )
    mask = voxels(sample_dir(place.grouped, "0002") / "amos_0002_mask.nii.gz")
    assert not mask.any()


def test_a_run_tells_what_an_earlier_version_did_not(place: Place) -> None:
    place.run()
    told, files = place.told(), snapshot(place.grouped)
    for path in (place.root / ".amos-dask" / "receipts").iterdir():
        receipt = json.loads(path.read_text(encoding="utf-8"))
        assert receipt["record"]["issues"]
        receipt["record"]["issues"] = []
        path.write_text(json.dumps(receipt), encoding="utf-8")
    assert "2 samples complete before" in place.run()
    assert place.told() == told
    after = snapshot(place.grouped)
    assert {name: after[name] for name in files if name.endswith(".gz")} == {
        name: content for name, content in files.items() if name.endswith(".gz")
    }


def test_single_commands_tell_it_and_what_is_had_back_is_gone_no_more(place: Place) -> None:
    place.run("--region_area_thresh", "1")
    assert place.told() == []
    area = ("--region_area_thresh", "10")
    for said in (place.denoise(*area), place.denoise(*area)):  # the second one skips both masks
        assert said.count("label_vanished: ") == 2
        assert said.count("empty_mask: ") == 1
        assert place.told()[0] == ADRENAL
    place.step("restore")
    assert place.told() == []
    place.denoise("--region_area_thresh", "1")
    assert place.told() == []
    place.run("--region_area_thresh", "1")
    assert place.told() == []


def test_it_stays_told_after_a_step_and_a_run_with_the_same_parameters(place: Place) -> None:
    place.run("--region_area_thresh", "1")
    place.denoise()
    told = place.told()
    assert "2 samples complete before" in place.run()
    assert place.told() == told
    place.run("--region_area_thresh", "1")
    assert place.told() == []


def test_masks_elsewhere_are_told_too(place: Place, tmp_path: Path) -> None:
    place.run("--region_area_thresh", "1")
    elsewhere = ("--output_dir", tmp_path / "elsewhere")
    said = place.step("denoise", *elsewhere, "--region_area_thresh", "10")
    assert said.count("label_vanished: ") == 2


def test_only_what_is_gone_as_a_whole_is_told(tmp_path: Path, cluster_address: str) -> None:
    nodules, rest, thin = empty(), empty(), empty()
    nodules[4:6, 4:6, 2] = nodules[20:22, 20:22, 5] = nodules[40, 30, 1:7] = 1
    rest[4:24, 4:24, 2:5] = 1
    rest[40, 30, 5] = 1  # an island goes, the rest stays
    thin[4:8, 4:34, 2:5] = 1  # 76.80 mm2 a slice
    write_archive(tmp_path / "archive", nodules=nodules, rest=rest, thin=thin)
    place, labels = Place(tmp_path, cluster_address), tmp_path / "lung.yaml"
    labels.write_text("0: background\n1: cancer\n", encoding="utf-8")
    place.run("--label_explanation", labels)
    gone = ("amos_0001", "label_vanished", f"{14 * 3.2:.2f} mm3 of label 1 (cancer)")
    assert place.told() == [("amos_0001", "empty_mask", "the mask holds background only"), gone]
    place.run("--region_area_thresh", "300")
    told = [found for found in place.told() if found[1] == "label_vanished"]
    assert [found[0] for found in told] == ["amos_0001", "amos_0003"]
    assert told[1][2] == f"{360 * 3.2:.2f} mm3 of label 1 (cancer)"


def test_what_is_excluded_is_not_gone(place: Place, tmp_path: Path) -> None:
    keep = tmp_path / "keep.csv"
    keep.write_text("sample,label\n*,11\n", encoding="utf-8")
    place.run()
    place.run("--exclude", keep)
    assert place.told() == []


@quick
@given(before=masks, after=masks)
def test_a_label_is_gone_when_no_voxel_of_it_is_left(before: Mask, after: Mask) -> None:
    changes = find_difference(before, after).changes
    present: Any = labels_present(after)
    of = (changes, present, (0.5, 2.0, 3.0), AMOS22.label_map, "amos_0001", "mask.nii.gz")
    found = check_vanished(*of)
    gone = sorted({*before.flat} - {*after.flat} - {0})
    told = [issue for issue in found if issue.code == "label_vanished"]
    assert len(told) == len(gone)
    for issue, label in zip(told, gone, strict=True):
        assert f" {3.0 * (before == label).sum():.2f} mm3 of label {label} (" in issue.message
    assert ("empty_mask" in {issue.code for issue in found}) == bool(gone and not after.any())
