"""The sides of the run benchmark do the same work: their voxels and rows are compared."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from amos_dask.kernels.slice_denoise import denoise_slices
from amos_dask.sample.make import make_sample
from benchmarks import literal_denoise, straightforward, vectorised_denoise
from benchmarks.floor import plan, run_floor
from benchmarks.outputs import archive_task, samples_of
from benchmarks.peers import OURS, Peer, installed_peers, same_components
from benchmarks.scans import checkerboard, mixed_archive, random_labels
from benchmarks.settings import Settings
from benchmarks.vectorised_denoise import Parameters

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed_archive(Settings(tmp_path_factory.mktemp("archive"), tiny=True))


def voxels(folder: Path) -> dict[str, np.ndarray]:
    paths = sorted(folder.rglob("*.nii.gz"))
    return {path.name: np.asanyarray(nib.load(path).dataobj) for path in paths}


def test_the_straightforward_way_writes_our_voxels(archive: Path, tmp_path: Path) -> None:
    straightforward.run(archive, tmp_path / "plain")
    for sample in samples_of(archive):
        make_sample(archive_task(sample, tmp_path / "ours"))
    ours, plain = voxels(tmp_path / "ours"), voxels(tmp_path / "plain")
    assert list(ours) == list(plain)
    for name, found in ours.items():
        assert found.dtype == plain[name].dtype
        np.testing.assert_array_equal(found, plain[name], err_msg=name)
    folders = {p.parent.relative_to(tmp_path / "plain") for p in tmp_path.glob("plain/**/*.yaml")}
    assert folders == {
        p.parent.relative_to(tmp_path / "ours") for p in tmp_path.glob("ours/**/*.yaml")
    }
    manifest = pd.read_excel(tmp_path / "plain" / "grouped" / "dataset_manifest.xlsx")
    assert len(manifest) == len(samples_of(archive))


def test_floor_writes_our_voxels(archive: Path, tmp_path: Path) -> None:
    for sample in samples_of(archive):
        folder = tmp_path / sample.sample_id
        make_sample(archive_task(sample, folder / "ours"))
        run_floor(plan(sample), folder / "floor")
        ours = [v for name, v in voxels(folder / "ours").items() if "volume" not in name]
        floor = [v for name, v in voxels(folder / "floor").items() if name.startswith("mask")]
        assert len(ours) == len(floor) == (0 if sample.mask is None else 18)
        for one, other in zip(ours, floor, strict=True):
            np.testing.assert_array_equal(one, other)
        (volume,) = folder.glob("ours/grouped/**/*_volume.nii.gz")
        same = folder / "floor" / "sample" / "volume.nii.gz"
        np.testing.assert_array_equal(
            np.asanyarray(nib.load(volume).dataobj), np.asanyarray(nib.load(same).dataobj)
        )


def test_vectorised_denoising_is_the_kernels_and_the_oracles() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        shape = (int(rng.integers(1, 14)), int(rng.integers(1, 14)), 2)
        mask = random_labels(shape, int(rng.integers(1, 6)))
        mask[rng.random(shape) < rng.random()] = 0
        parameters = Parameters(
            (float(rng.uniform(0.3, 2)), 1.0),
            float(rng.uniform(1, 30)),
            (int(rng.integers(1, 6)), int(rng.integers(1, 6))),
            int(rng.integers(0, 4)),
        )
        found = vectorised_denoise.denoise(mask, parameters)
        np.testing.assert_array_equal(found, denoise_slices(mask, *parameters))
        np.testing.assert_array_equal(found, literal_denoise.denoise(mask, parameters))


@pytest.mark.parametrize("peer", list(installed_peers()), ids=lambda peer: peer.name)
def test_peer_finds_our_components(peer: Peer) -> None:
    shape = (9, 8, 7)
    for mask in (checkerboard(shape), random_labels(shape, 3), random_labels(shape, 17)):
        ours = OURS.rows(mask, OURS.find(mask))
        assert same_components(ours, peer.rows(mask, peer.find(mask)))
        assert not same_components(ours, ours[1:])
