"""Edits, other files in the archive and kills, on channels and on a mask for each label."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import soak
from distributed import Client
from mini import QUIET
from phantoms import OtherArchive, write_brats, write_totalsegmentator
from roots import assert_same, besides_replaced, contents, issues, voxels

import amos_dask
from amos_dask.datasets import find_definition
from amos_dask.handwritten import dump_yaml

NAMES = ("brats", "totalsegmentator")


WRITERS: dict[str, Callable[[Path], OtherArchive]] = {
    "brats": partial(write_brats, year=2023),
    "totalsegmentator": partial(write_totalsegmentator, n_scans=4, n_labels=9, shape=(20, 25, 12)),
}


def write(name: str, folder: Path) -> OtherArchive:
    return WRITERS[name](folder)


def definition(name: str, folder: Path) -> str:
    """Return a dataset, of TotalSegmentator with nine labels."""
    if name != "totalsegmentator":
        return name
    content = dict(find_definition(name).content)
    labels = dict(list(content["labels"].items())[:10])
    path = folder / "nine.yaml"
    path.write_text(dump_yaml(content | {"labels": labels, "denoise": ["liver", "stomach"]}))
    return str(path)


class Place:
    """A ROOT_DIR and its archive, which a test may change."""

    def __init__(self, folder: Path, planted: OtherArchive, dataset: str, client: Client) -> None:
        self.planted, self.client, self.dataset = planted, client, dataset
        self.archive, self.root = planted.path, folder / "root"

    def in_copy(self, folder: Path) -> Place:
        """Return the same in another folder."""
        kept, dataset = self.root.parent, Path(self.dataset)
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        archive = folder / self.archive.relative_to(kept)
        name = str(folder / dataset.name) if dataset.is_absolute() else self.dataset
        return Place(folder, replace(self.planted, path=archive), name, self.client)

    def run(self, root: Path | None = None, **how: Any) -> amos_dask.RunResult:
        where = self.root if root is None else root
        how = {"dataset": self.dataset, "cluster": self.client} | QUIET | how
        return amos_dask.run(where, self.archive, **how)

    def times(self, end: str) -> dict[str, int]:
        """Return when the files whose names end so were written."""
        found = self.root.glob(f"grouped/*/*/*/*/*{end}")
        return {path.name: path.stat().st_mtime_ns for path in found}

    def file(self, end: str) -> Path:
        (found,) = self.root.glob(f"grouped/*/*/*/*/*{end}")
        return found

    def assert_as_anew(self) -> None:
        """Fail unless all is as a first run makes it."""
        fresh = self.root.with_name("fresh")
        self.run(fresh)
        assert_same(besides_replaced(contents(self.root)), besides_replaced(contents(fresh)))


@pytest.fixture(scope="module")
def made(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Place]:
    """Return what makes a finished place that no test changes."""

    def make(name: str) -> Place:
        folder = tmp_path_factory.mktemp("made")
        place = Place(folder, write(name, folder), definition(name, folder), client)
        place.run()
        return place

    return cache(make)


@pytest.fixture
def place(made: Callable[[str], Place], tmp_path: Path) -> Callable[[str], Place]:
    return lambda name: made(name).in_copy(tmp_path)


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def save_again(path: Path, change: Callable[[Any], Any]) -> None:
    image = nib.load(path)
    voxels_of = change(np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(voxels_of, image.affine, image.header), path)


# ---------------------------------------------------------------- other files in the archive


def test_another_channel_makes_its_sample_anew_and_no_other(place: Callable[[str], Place]) -> None:
    brats = place("brats")
    before = brats.times("nii.gz")
    sample = brats.planted.samples[2]
    save_again(brats.archive / sample.images[3], lambda values: values + 1)
    assert brats.run().reasons == {"changed": 1, "complete": 3}
    again = changed(before, brats.times("nii.gz"))
    assert again
    assert all(name.startswith(f"{sample.sample_id}_") for name in again)
    (kept,) = (path.name for path in (brats.root / "replaced").rglob("*.nii.gz"))
    assert kept == f"{sample.sample_id}_volume_03_t2f.nii.gz"
    brats.assert_as_anew()


def test_another_mask_of_a_label_and_one_that_comes_later_make_masks_only(
    place: Callable[[str], Place],
) -> None:
    total = place("totalsegmentator")
    volumes, masks = total.times("_volume.nii.gz"), total.times("_mask.nii.gz")
    _, lacking, sample, _ = total.planted.samples
    save_again(total.archive / sample.label_masks[4][1], lambda values: 1 - values)
    assert 2 not in dict(lacking.label_masks)
    source = total.archive / lacking.label_masks[0][1]
    shutil.copyfile(source, source.with_name("kidney_right.nii.gz"))
    assert total.run().reasons == {"changed": 2, "complete": 2}
    assert total.times("_volume.nii.gz") == volumes
    concerned = {f"{one.sample_id}_mask.nii.gz" for one in (sample, lacking)}
    assert changed(masks, total.times("_mask.nii.gz")) == concerned
    total.assert_as_anew()


def test_a_mask_of_a_label_that_is_gone_takes_nothing_away(place: Callable[[str], Place]) -> None:
    total = place("totalsegmentator")
    before, sample = contents(total.root, "grouped"), total.planted.samples[0]
    name = dict(sample.label_masks)[5]
    away = total.root.with_name("away")
    (total.archive / name).rename(away)
    for _ in range(2):
        done = total.run()
        assert done.exit_code == amos_dask.ExitCode.SAMPLES_FAILED
        (told,) = (i for i in issues(total.root) if i["severity"] == "error")
        assert (told["code"], told["sample"]) == ("source_missing", sample.sample_id)
        assert "the mask of liver is not in the archive any more" in told["message"]
        assert_same(contents(total.root, "grouped"), before)
    away.rename(total.archive / name)
    assert total.run().exit_code == amos_dask.ExitCode.DONE
    total.assert_as_anew()


# ---------------------------------------------------------------- another definition


def test_another_precedence_makes_masks_only(place: Callable[[str], Place]) -> None:
    total = place("totalsegmentator")
    volumes, path = total.times("_volume.nii.gz"), Path(total.dataset)
    path.write_text(path.read_text().replace("precedence: later", "precedence: earlier"))
    assert total.run().reasons == {"changed": 4}
    assert total.times("_volume.nii.gz") == volumes
    total.assert_as_anew()


def test_another_name_of_a_channel_renames_its_files(place: Callable[[str], Place]) -> None:
    brats = place("brats")
    content = dict(find_definition("brats").content)
    spellings = {"native" if key == "t1n" else key: of for key, of in content["channels"].items()}
    own = brats.root.with_name("own.yaml")
    own.write_text(dump_yaml(content | {"channels": spellings}))
    brats.dataset = str(own)
    assert brats.run().reasons == {"changed": 4}
    assert len(brats.times("_volume_00_native.nii.gz")) == 4
    assert brats.times("_volume_00_t1n.nii.gz") == {}
    assert len(list((brats.root / "replaced").rglob("*_volume_00_t1n.nii.gz"))) == 4
    brats.assert_as_anew()


# ---------------------------------------------------------------- edits


@pytest.mark.parametrize("name", NAMES)
def test_an_edited_mask_outlives_runs(name: str, place: Callable[[str], Place]) -> None:
    made = place(name)
    before = contents(made.root)
    sample = made.planted.samples[2]
    path, volumes = made.file(f"{sample.sample_id}_mask.nii.gz"), made.times("_t2f.nii.gz")
    labels = voxels(path).copy()
    labels[2:6, 2:6, 1] = 3
    save_again(path, lambda _: labels.astype(np.int16))
    for how in ({}, {"force": True}):
        made.run(**how)
        np.testing.assert_array_equal(voxels(path), labels)
        assert voxels(path).dtype == np.uint8
        assert ("edited_mask", sample.sample_id) in {
            (i["code"], i["sample"]) for i in issues(made.root)
        }
        (binary,) = path.parent.glob("*_mask_03_*")
        np.testing.assert_array_equal(voxels(binary), labels == 3)
        if not how:
            assert made.times("_t2f.nii.gz") == volumes
    made.run(discard_edits=True)
    assert_same(besides_replaced(contents(made.root)), besides_replaced(before))


# ---------------------------------------------------------------- kills


# Samples of the other datasets are written as one of these is, or one of AMOS22's (test_killed).
@pytest.fixture(scope="module", params=NAMES)
def soaked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cluster_address: str
) -> soak.Place:
    folder = tmp_path_factory.mktemp("soak")
    planted = write(request.param, folder)
    archive = Path(shutil.make_archive(str(folder / planted.path.name), "zip", planted.path))
    dataset = ("--dataset", definition(request.param, folder))
    return soak.prepare_of(archive, *dataset, cluster=cluster_address)


@pytest.mark.integration
@pytest.mark.parametrize("seed", [20])
def test_a_killed_run_goes_on_where_it_was(soaked: soak.Place, seed: int) -> None:
    soak.one_round(soaked, soak.draw(seed, soaked.n_samples))
