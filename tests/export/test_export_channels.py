"""Exports of scans with several channels, and of what came in nnU-Net's own form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from phantoms import OtherArchive, write_brats, write_decathlon, write_nnunet
from roots import snapshot, voxels

import amos_dask
from amos_dask import CommandResult
from amos_dask.datasets import find_definition
from amos_dask.root.layout import Layout, find_samples_of

Export = Callable[..., CommandResult]
NAN_CASE = "brats_BraTS-GLI-00017-001"


class Made(NamedTuple):
    """A dataset after a run."""

    archive: OtherArchive
    root: Path
    channels: tuple[str, ...]

    @property
    def folders(self) -> dict[str, Any]:
        return {f.sample_id: f for f in find_samples_of(Layout.of(self.root))}

    def in_copy(self, folder: Path) -> Made:
        """Return the same with a copy of ROOT_DIR that a test may change."""
        root = Path(shutil.copytree(self.root, folder / "copy"))
        Layout(root).exports.unlink(missing_ok=True)
        return self._replace(root=root)


@pytest.fixture
def nnunet(cluster_address: str, tmp_path: Path) -> Export:
    def export(root: Path, **options: Any) -> CommandResult:
        options = {"cluster": cluster_address, "progress": "none", "dataset_id": 42, **options}
        return amos_dask.export_nnunet(root, tmp_path / "raw", **options)

    return export


@pytest.fixture
def monai(cluster_address: str, tmp_path: Path) -> Export:
    def export(root: Path, **options: Any) -> CommandResult:
        options = {"cluster": cluster_address, "progress": "none", **options}
        return amos_dask.export_monai(root, tmp_path / "list.json", **options)

    return export


def make(archive: OtherArchive, dataset: str, channels: tuple[str, ...], cluster: str) -> Made:
    root = archive.path.parent / "root"
    options: dict[str, Any] = {"cluster": cluster, "progress": "none", "statistics": False}
    amos_dask.run(root, archive.path, dataset=dataset, report=False, **options)
    return Made(archive, root, channels)


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Made:
    """Return BraTS of 2023; a case has a NaN in its last channel, another no mask."""
    archive = write_brats(tmp_path_factory.mktemp("brats"), 2023)
    path = archive.path / archive.samples[3].images[3]
    volume = voxels(path).astype(np.float32)
    volume[1, 2, 3] = np.nan
    nib.save(nib.Nifti1Image(volume, nib.load(path).affine), path)
    return make(archive, "brats", ("t1n", "t1c", "t2w", "t2f"), cluster_address)


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Made:
    archive = write_decathlon(tmp_path_factory.mktemp("brain"), "brain")
    return make(archive, "decathlon", ("FLAIR", "T1w", "t1gd", "T2w"), cluster_address)


@pytest.fixture(params=["brats", "brain"])
def made(request: pytest.FixtureRequest) -> Made:
    return request.getfixturevalue(request.param)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def codes(result: CommandResult) -> set[tuple[str, str]]:
    return {(issue.code, issue.sample) for issue in result.issues}


def usable(made: Made) -> dict[str, str]:
    """Return the samples that can be exported -> subset."""
    return {
        sample.sample_id: sample.subset
        for sample in made.archive.samples
        if sample.sample_id != NAN_CASE and (sample.mask_name or sample.subset == "test")
    }


# ---------------------------------------------------------------- a file a channel


def test_each_channel_is_a_file_and_listed(made: Made, nnunet: Export, monai: Export) -> None:
    result = nnunet(made.root)
    (dataset,) = result.outputs
    exported, folders = usable(made), made.folders
    left_out = {s.sample_id for s in made.archive.samples} - exported.keys()
    assert {name for _, name in codes(result)} == left_out
    found = {path.relative_to(dataset).as_posix() for path in dataset.rglob("*.nii.gz")}
    for i, subset in exported.items():
        part = "Ts" if subset == "test" else "Tr"
        for k, volume in enumerate(folders[i].volumes):
            name = f"images{part}/{i}_{k:04d}.nii.gz"
            assert (dataset / name).read_bytes() == volume.read_bytes()
            found.remove(name)
        if subset != "test":
            label = f"labels{part}/{i}.nii.gz"
            assert (dataset / label).read_bytes() == folders[i].mask.read_bytes()
            found.remove(label)
    assert found == set()
    described, definition = read(dataset / "dataset.json"), Layout.of(made.root).dataset
    assert described["channel_names"] == {str(k): name for k, name in enumerate(made.channels)}
    assert described["numTraining"] == sum(of != "test" for of in exported.values())
    assert described["description"] == f"{definition.name}, organised by amos-dask"
    told = (described["reference"], described["licence"], described["citation"])
    assert told == (definition.url, definition.licence, definition.cite)

    (file,) = monai(made.root).outputs
    listed = read(file)
    assert listed["modality"] == described["channel_names"]
    assert (listed["tensorImageSize"], listed["citation"]) == ("4D", definition.cite)
    entries = [*listed["training"], *listed["testing"]]
    assert len(entries) == len(exported)
    for entry in entries:
        images = [(file.parent / image).resolve() for image in entry["image"]]
        folder = next(f for f in folders.values() if f.volume == images[0])
        assert tuple(images) == folder.volumes
        assert ("label" in entry) == (exported[folder.sample_id] != "test")
    for output in (dataset, file):
        assert "sound" in amos_dask.verify(output).summary
    before = snapshot(file.parent)
    assert "written" not in nnunet(made.root).summary
    monai(made.root)
    assert snapshot(file.parent) == before


def test_a_scan_with_nan_in_any_channel_is_left_out(brats: Made, nnunet: Export) -> None:
    assert codes(nnunet(brats.root)) == {
        ("non_finite_voxels", NAN_CASE),
        ("missing_mask", "brats_BraTS-GLI-00001-000"),
    }


def test_links_and_room_are_those_of_all_files(
    brain: Made, nnunet: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("amos_dask.export.update.can_clone", lambda *_: False)
    monkeypatch.setattr(
        "amos_dask.export.update.require_room", lambda folder, n_bytes: asked.append(n_bytes)
    )
    (dataset,) = nnunet(brain.root).outputs
    files = list(dataset.rglob("*.nii.gz"))
    assert asked == [sum(path.stat().st_size for path in files)]
    nnunet(brain.root, link="symbolic")
    volumes = {path for folder in brain.folders.values() for path in folder.volumes}
    assert {path.resolve() for path in dataset.glob("images*/*.nii.gz")} == volumes
    assert all(path.is_symlink() for path in files)


def test_each_channel_is_brought_up_to_date_or_somebodys(
    brain: Made, nnunet: Export, tmp_path: Path
) -> None:
    own = brain.in_copy(tmp_path)
    (dataset,) = nnunet(own.root).outputs
    name = "imagesTr/BRATS_0001_0003.nii.gz"
    volumes = own.folders["BRATS_0001"].volumes
    shutil.copy(volumes[2], volumes[3])
    verified = amos_dask.verify(dataset)
    assert [(i.code, i.file) for i in verified.issues] == [("outdated_export", name)]
    nnunet(own.root)
    assert (dataset / name).read_bytes() == volumes[2].read_bytes()
    (dataset / name).write_bytes(b"mine")
    result = nnunet(own.root)
    assert [(i.code, i.file) for i in result.issues] == [("foreign_file", name)]
    assert (dataset / name).read_bytes() == b"mine"
    verified = amos_dask.verify(dataset)
    assert [(i.code, i.file) for i in verified.issues] == [("altered_output", name)]
    assert nnunet(own.root, adopt=True).issues == ()
    assert (dataset / "replaced/1" / name).read_bytes() == b"mine"


def test_a_channel_that_cannot_be_used_now_leaves_what_was_exported(
    brain: Made, nnunet: Export, monai: Export, tmp_path: Path
) -> None:
    own = brain.in_copy(tmp_path)
    (dataset,) = nnunet(own.root).outputs
    monai(own.root)
    before = snapshot(dataset)
    volumes = own.folders["BRATS_0457"].volumes
    volumes[1].write_bytes(b"")
    volumes[2].unlink()
    said = {issue.message for issue in amos_dask.verify(tmp_path / "list.json").issues}
    assert "lists BRATS_0457_volume_02_t1gd.nii.gz, which is gone" in said
    for export in (nnunet, monai):
        assert codes(export(own.root)) == {("unreadable_volume", "BRATS_0457")}
    assert snapshot(dataset) == before
    shutil.copy(volumes[0], volumes[2])
    shutil.copy(own.folders["BRATS_0001"].volumes[1], volumes[1])
    (issue,) = nnunet(own.root).issues
    assert "has the shape" in issue.message


# ---------------------------------------------------------------- nnU-Net's own form

FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "any ids, two channels": ({}, {"background": 0, "organ": 1, "lesion": 2}),
    "ids with a prefix": (
        {"prefixed": True, "channels": ["noNorm"]},
        {"background": 0, "organ": 1, "lesion": 2},
    ),
    "regions become labels": (
        {"regions": True, "ignore": True, "channels": ["CT"], "file_ending": ".nii"},
        {"background": 0, "organ and lesion": 1, "lesion": 2, "ignore": 3},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_came_from_nnunet_goes_back(
    form: str, nnunet: Export, tmp_path: Path, cluster_address: str
) -> None:
    options, labels = FORMS[form]
    archive = write_nnunet(tmp_path, **options)
    assert find_definition("nnunet").denoised == "none"
    made = make(archive, "nnunet", (), cluster_address)
    result = nnunet(made.root)
    (dataset,) = result.outputs
    assert (result.issues, dataset.name) == ((), archive.path.name)
    told, ours = read(archive.path / "dataset.json"), read(dataset / "dataset.json")
    for key in ("channel_names", "numTraining"):
        assert ours[key] == told[key]
    assert list(ours["labels"].items()) == list(labels.items())
    assert options.get("regions") or labels == told["labels"]
    ending = told["file_ending"]
    theirs = {
        path.relative_to(archive.path).as_posix().removesuffix(ending): path
        for path in archive.path.glob(f"*/[!.]*{ending}")
    }
    exported = {path.relative_to(dataset).as_posix() for path in dataset.glob("*/*.nii.gz")}
    assert exported == {f"{name}.nii.gz" for name in theirs}
    for name, path in theirs.items():
        image = nib.load(dataset / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), voxels(path))
        np.testing.assert_allclose(image.affine, nib.load(path).affine, atol=1e-4)
