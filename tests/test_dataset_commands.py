"""The tutorial's commands on channels, ids and a mask for each label give what `run` gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from distributed import Client
from mini import AFFINE, QUIET, Own, mask, scan
from phantoms import OtherArchive, write_brats, write_nnunet, write_totalsegmentator
from roots import assert_same, contents, issues, voxels

import amos_dask
from amos_dask.datasets import find_definition
from amos_dask.handwritten import dump_yaml

DENOISE: dict[str, Any] = {
    "kernel_size": (3, 3),
    "filter_halfedge": 2,
    "region_area_thresh": 40.0,
}
WRITE: dict[str, Callable[[Path], OtherArchive]] = {
    "brats": write_brats,
    "nnunet": partial(write_nnunet, regions=True, ignore=True),
    "totalsegmentator": partial(write_totalsegmentator, n_scans=3, n_labels=9, shape=(20, 25, 12)),
}


def of_nine_labels(folder: Path) -> Path:
    content = dict(find_definition("totalsegmentator").content)
    labels = dict(list(content["labels"].items())[:10])
    path = folder / "nine.yaml"
    path.write_text(dump_yaml(content | {"labels": labels, "denoise": ["liver", "stomach"]}))
    return path


def in_steps(root: Path, archive: Path, dataset: Any, client: Client, prefix: str) -> None:
    """Do what `run` does, command by command."""
    common = {"cluster": client, "progress": "none"}
    grouped, descriptor = root / "grouped", root / "descriptor"
    group, modality = grouped / prefix, prefix.rpartition("-")[2].lower()
    listed = descriptor / "archive_manifest.xlsx"
    amos_dask.archive_manifest(archive, listed, dataset=dataset, **common)
    amos_dask.confirm_pairs(archive, group, listed, modality=modality, **common)
    before = descriptor / "small_connected_region_100_manifest.xlsx"
    after = descriptor / "small_connected_region_100_after_modification_manifest.xlsx"
    amos_dask.small_regions(grouped, before, region_volume_thresh=100.0, **common)
    amos_dask.denoise(grouped, grouped, **DENOISE, **common)
    amos_dask.binary_masks(grouped, **common)
    amos_dask.small_regions(grouped, after, region_volume_thresh=100.0, **common)
    name = f"dataset_manifest_{prefix.lower().replace('-', '_')}.xlsx"
    for place, below in ((grouped, "dataset_manifest.xlsx"), (group, name)):
        manifest = place / below
        done = amos_dask.dataset_manifest(place, manifest, **common)
        amos_dask.make_split(manifest)
        there = [[s] for s in ("train", "val", "test") if (done.frame["subset"] == s).any()]
        standard = [["train", "val"], *there] if ["val"] in there else there
        amos_dask.index_manifests(manifest, place / "splits/split01_standard", subsets=standard)


@dataclass(frozen=True)
class Made:
    """A dataset after a run."""

    archive: OtherArchive
    dataset: Any
    root: Path


@pytest.fixture(scope="module")
def made(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return what makes a dataset; what it made no test changes."""

    def make(name: str) -> Made:
        folder = tmp_path_factory.mktemp("made")
        archive, root = WRITE[name](folder), folder / "run"
        dataset = of_nine_labels(folder) if name == "totalsegmentator" else name
        amos_dask.run(root, archive.path, dataset=dataset, cluster=client, **QUIET, **DENOISE)
        return Made(archive, dataset, root)

    return cache(make)


@pytest.mark.parametrize(
    "name", ["brats", pytest.param("nnunet", marks=pytest.mark.integration), "totalsegmentator"]
)
def test_the_single_commands_give_what_run_gives(
    name: str, made: Callable[[str], Made], client: Client, tmp_path: Path
) -> None:
    run, steps = made(name), tmp_path / "steps"
    (group,) = (path.name for path in (run.root / "grouped").iterdir() if path.name.isupper())
    in_steps(steps, run.archive.path, run.dataset, client, group)
    expected = contents(run.root)
    # What labels share is found where they are merged from the archive, and kept by `run`.
    expected.pop("descriptor/overlaps.xlsx", None)
    assert_same(contents(steps), expected)


def test_denoising_leaves_the_definition_s_labels_alone(
    made: Callable[[str], Made], client: Client, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(made("brats").root, tmp_path / "root"))
    before = contents(root, "grouped")
    done = amos_dask.denoise(root / "grouped", root / "grouped", cluster=client, progress="none")
    assert done.exit_code == amos_dask.ExitCode.DONE
    assert_same(before, contents(root, "grouped"))


def test_restore_gives_merged_labels_back(
    made: Callable[[str], Made], client: Client, tmp_path: Path
) -> None:
    total = made("totalsegmentator")
    root = Path(shutil.copytree(total.root, tmp_path / "root"))
    before = contents(root)
    amos_dask.restore(root / "grouped", cluster=client, progress="none")
    for sample in total.archive.samples:
        (mask_of,) = root.glob(f"grouped/*/*/*/*/{sample.sample_id}_mask.nii.gz")
        np.testing.assert_array_equal(voxels(mask_of), sample.labels)
    amos_dask.denoise(
        root / "grouped", root / "grouped", cluster=client, progress="none", **DENOISE
    )
    assert amos_dask.run(root, cluster=client, **QUIET).reasons == {"complete": 3}
    assert_same(contents(root), before)


def test_pairs_of_header_and_voxels_are_confirmed_from_the_manifest(
    client: Client, tmp_path: Path
) -> None:
    own = Own(
        tmp_path,
        client,
        "labels: {0: background, 1: first, 2: second}\nsubsets: train\ndenoise: none\n"
        'volumes: "{id}/ct"\nmasks: "{id}/seg"\nwith_masks: [train]',
    )
    for name in ("a", "b-1"):
        (own.archive / name).mkdir(parents=True)
        for end, values in (("ct", scan(len(name))), ("seg", mask((1, 2)))):
            image = nib.Nifti1Pair(values, AFFINE)
            nib.save(image, own.archive / name / f"{end}.hdr")
    own.run(**DENOISE)
    steps = tmp_path / "steps"
    in_steps(steps, own.archive, own.definition, client, "OWN-CT")
    assert [i["code"] for i in issues(steps)] == []
    assert_same(contents(steps), contents(own.root))
    frame = own.run().archive_manifest
    assert frame["file_path"].tolist() == [
        f"{name}/{end}.hdr" for name in ("a", "b-1") for end in ("ct", "seg")
    ]
