"""A ROOT_DIR that version 0.1.0 made is gone on with: its receipts and restore data hold."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from roots import program, sample_dir, snapshot, voxels

from amos_dask import run
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import Receipts
from amos_dask.sample.todo import Reason

# An archive of one CT, and the ROOT_DIR that 0.1.0 made of it with this area; without workbooks.
MADE = Path(__file__).with_name("version_0_1_0.zip")
AREA = 100.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the archive ``amos22`` and the ROOT_DIR ``AMOS22``."""
    with zipfile.ZipFile(MADE) as file:
        file.extractall(tmp_path)
    return tmp_path


def go_on(folder: Path, cluster: str, area: float) -> set[str]:
    """Run again; return the reasons of what was done."""
    result = run(
        folder / "AMOS22",
        folder / "amos22",
        region_area_thresh=area,
        cluster=cluster,
        progress="none",
    )
    assert result.n_failed == 0
    return {str(reason) for reason in result.reasons}


def test_what_it_made_is_complete_and_stays_as_it_is(folder: Path, cluster_address: str) -> None:
    root = folder / "AMOS22"
    before = snapshot(root / "grouped")
    assert go_on(folder, cluster_address, AREA) == {Reason.COMPLETE}
    after = snapshot(root / "grouped")
    assert {name: after[name] for name in before} == before
    assert (root / "grouped" / "dataset_manifest.xlsx").exists()
    assert (root / "descriptor" / "statistics.xlsx").exists()
    program("verify", root, "--cluster", cluster_address)
    receipt = Receipts(Layout(root)).read("amos_0001")
    assert receipt is not None
    assert receipt.headers is not None  # learnt now, so that the next run need not read them


def test_denoising_that_it_did_can_be_undone(folder: Path, cluster_address: str) -> None:
    (archived,) = folder.glob("amos22/labelsTr/*.nii.gz")
    before = voxels(archived)
    before[before == 15] = 16  # of a woman
    mask = sample_dir(folder / "AMOS22", "0001") / "amos_0001_mask.nii.gz"
    assert (voxels(mask) != before).any()
    program("restore", "--root_dir", mask.parents[2], "--cluster", cluster_address)
    assert (voxels(mask) == before).all()


def test_other_parameters_ask_for_its_masks_again(folder: Path, cluster_address: str) -> None:
    volume = sample_dir(folder / "AMOS22", "0001") / "amos_0001_volume.nii.gz"
    changed = volume.stat().st_mtime_ns
    assert go_on(folder, cluster_address, 10.0) == {Reason.CHANGED}
    assert volume.stat().st_mtime_ns == changed
    assert go_on(folder, cluster_address, 10.0) == {Reason.COMPLETE}
    program("verify", folder / "AMOS22", "--cluster", cluster_address)
