"""Arrays to train on, from a ROOT_DIR: in three forms, again, after a kill, with other settings."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import zarr
from phantoms import write_decathlon
from roots import program, sample_dir, snapshot, voxels

import amos_dask
from amos_dask import AmosDaskError, CommandResult, Selection

Export = Callable[..., CommandResult]
HOW: dict[str, Any] = {"orientation": "RAS", "spacing": (4, 4, 6)}
FORMS = ("nifti", "npz", "zarr")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR of three CT and an MR that no test changes."""
    folder = tmp_path_factory.mktemp("made")
    archive = amos_dask.write_archive(folder, n_ct=3, n_mri=1, size="tiny", seed=1).path
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    amos_dask.run(folder / "AMOS22", archive, report=False, statistics=False, **options)
    return folder / "AMOS22"


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "AMOS22"))


@pytest.fixture
def arrays(cluster_address: str) -> Export:
    def export(root: Path, folder: Path, **options: Any) -> CommandResult:
        options = {"cluster": cluster_address, "progress": "none", **options}
        return amos_dask.export_arrays(root, folder, **options)

    return export


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def load(folder: Path, entry: dict[str, Any], form: str) -> dict[str, Any]:
    """Return volume, mask, affine and names of labels as a sample's file holds them."""
    if form == "nifti":
        image = nib.load(folder / entry["image"])
        names = list(read(folder / "arrays.json")["labels"].values())
        mask = entry["label"] and voxels(folder / entry["label"])
        return {
            "volume": voxels(folder / entry["image"]),
            "mask": mask,
            "affine": image.affine,
            "label_names": names,
        }
    if form == "npz":
        with np.load(folder / entry["image"]) as file:
            return {"mask": None, **file}
    group = zarr.open_group(zarr.storage.ZipStore(folder / entry["image"], mode="r"), mode="r")
    return {"mask": None, **{name: group[name][...] for name in group.array_keys()}, **group.attrs}


def mtimes(folder: Path) -> dict[str, int]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.as_posix(): path.stat().st_mtime_ns for path in found if path.suffix != ".lock"}


def codes(result: CommandResult) -> set[tuple[str, str]]:
    return {(issue.code, issue.severity) for issue in result.issues}


def test_all_forms_hold_the_same_on_the_grid_asked_for(
    made: Path, tmp_path: Path, arrays: Export
) -> None:
    listed, held = {}, {}
    for form in FORMS:
        folder = tmp_path / form
        result = arrays(made, folder, form=form, window=(-160, 240), **HOW)
        assert (result.exit_code, result.issues) == (0, ())
        listed[form] = read(folder / "arrays.json")
        held[form] = [load(folder, entry, form) for entry in listed[form]["samples"]]
        assert "sound" in amos_dask.verify(folder, full=True).summary
        assert amos_dask.verify(folder).exit_code == 0
    for number, entry in enumerate(listed["npz"]["samples"]):
        source = sample_dir(made / "grouped", entry["id"].removeprefix("amos_"))
        record = read(tmp_path / "npz" / entry["record"])
        for form in FORMS:
            found = held[form][number]
            affine, volume = np.asarray(found["affine"]), found["volume"]
            assert nib.aff2axcodes(affine) == tuple("RAS")
            assert np.allclose(nib.affines.voxel_sizes(affine), (4, 4, 6))
            assert np.allclose(affine, record["affine"], atol=1e-4)
            assert list(volume.shape) == record["shape"]
            assert (volume.dtype, volume.min() >= 0, volume.max() <= 1) == ("float32", True, True)
            assert np.array_equal(volume, held["npz"][number]["volume"])
            assert list(found["label_names"])[1] == "spleen"
            if (mask := found["mask"]) is None:
                assert entry["subset"] == "test"
                continue
            assert (mask.dtype, mask.shape) == ("uint8", volume.shape)
            assert np.array_equal(mask, held["npz"][number]["mask"])
            assert set(np.unique(mask)) <= set(
                np.unique(voxels(source / f"{entry['id']}_mask.nii.gz"))
            )


def test_as_stored_is_what_root_dir_has(made: Path, tmp_path: Path, arrays: Export) -> None:
    arrays(made, tmp_path / "a")
    for path in (tmp_path / "a").rglob("*.nii.gz"):
        (source,) = made.rglob(path.name)
        assert np.array_equal(voxels(path), voxels(source))
        assert np.array_equal(nib.load(path).affine, nib.load(source).affine)


def test_again_nothing_is_written_and_other_settings_make_all_anew(
    made: Path, tmp_path: Path, arrays: Export
) -> None:
    folder = tmp_path / "a"
    first = arrays(made, folder, form="npz", **HOW)
    assert "written" in first.summary
    before = mtimes(folder / "train") | mtimes(folder / "test")
    again = arrays(made, folder, form="npz", **HOW)
    assert "written" not in again.summary
    assert mtimes(folder / "train") | mtimes(folder / "test") == before
    other = {**HOW, "spacing": (5, 5, 6)}
    arrays(made, folder, form="npz", **other)
    arrays(made, tmp_path / "b", form="npz", **other)
    assert snapshot(folder) == snapshot(tmp_path / "b")
    arrays(made, folder, form="nifti", **HOW)
    assert not [*folder.rglob("*.npz")]


def test_what_is_outdated_is_named_and_made_anew_and_what_is_not_ours_stays(
    root: Path, tmp_path: Path, arrays: Export
) -> None:
    folder = tmp_path / "a"
    arrays(root, folder, form="npz", **HOW)
    notes, mine = folder / "train" / "notes.txt", folder / "train" / "amos_0001.npz"
    notes.write_text("mine")
    mask = sample_dir(root / "grouped", "0001") / "amos_0001_mask.nii.gz"
    image = nib.load(mask)
    edited = np.asarray(image.dataobj).copy()
    edited[: edited.shape[0] // 2] = 1
    nib.save(nib.Nifti1Image(edited, image.affine, image.header), mask)
    assert codes(amos_dask.verify(folder)) == {("outdated_export", "error")}
    result = arrays(root, folder, form="npz", **HOW)
    assert ("outdated_export", "info") in codes(result)
    assert ("foreign_file", "warning") in codes(result)  # the notes
    assert (np.load(mine)["mask"] == 1).mean() > 0.3
    assert amos_dask.verify(folder).exit_code == 0
    mine.write_bytes(b"mine")
    result = arrays(root, folder, form="npz", **{**HOW, "spacing": (5, 5, 6)})
    assert ("foreign_file", "error") in codes(result)
    assert (mine.read_bytes(), notes.read_text()) == (b"mine", "mine")
    arrays(root, folder, form="npz", adopt=True, **HOW)
    assert np.load(mine)["mask"].ndim == 3
    assert (folder / "replaced").is_dir()


@pytest.mark.integration
def test_killed_and_run_again_gives_the_same_bytes(
    made: Path, tmp_path: Path, arrays: Export
) -> None:
    arrays(made, tmp_path / "whole", form="npz", **HOW)
    folder = tmp_path / "killed"
    script = f"""if True:
        import os, signal, amos_dask
        from amos_dask.export.files import Placing
        write, n = Placing.write, []
        def killing(self, final, *rest):
            n.append(final)
            if len(n) == 4:  # the second sample's record
                os.kill(os.getpid(), signal.SIGKILL)
            return write(self, final, *rest)
        Placing.write = killing
        from distributed import Client
        with Client(processes=False, n_workers=1, threads_per_worker=1,
                    dashboard_address=None) as client:
            amos_dask.export_arrays({str(made)!r}, {str(folder)!r}, form="npz",
                orientation="RAS", spacing=(4, 4, 6), cluster=client, progress="none")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    first = mtimes(folder / "train") | mtimes(folder / "val")
    records = [name for name in first if name.endswith(".json")]
    assert len(records) == 1
    result = arrays(made, folder, form="npz", **HOW)
    assert result.issues == ()
    now = mtimes(folder)
    kept = [name for name in first if name.startswith(records[0].removesuffix("json"))]
    assert [now[name] for name in kept] == [first[name] for name in kept]
    assert snapshot(folder) == snapshot(tmp_path / "whole")


def test_median_crop_and_percentiles(made: Path, tmp_path: Path, arrays: Export) -> None:
    folder = tmp_path / "a"
    ct = Selection(modality="ct")
    how = {"crop": "labels", "margin": 8, "percentiles": (1, 99), "selection": ct}
    result = arrays(made, folder, spacing="median", orientation="LPS", form="zarr", **how)
    assert "not cropped" in result.summary
    settings = read(folder / "arrays.json")["settings"]
    for entry in read(folder / "arrays.json")["samples"]:
        record = read(folder / entry["record"])
        assert np.allclose(record["spacing_mm"], settings["spacing_mm"], atol=1e-5)
        low, high = record["windows"][0]
        assert low < high
        found = load(folder, entry, "zarr")
        assert record["is_cropped"] == (found["mask"] is not None)
        if found["mask"] is not None:
            inside = np.argwhere(found["mask"])
            margin = np.ceil(8 / np.array(record["spacing_mm"]))
            assert (inside.min(axis=0) <= margin + 2).all()
    assert amos_dask.verify(folder).exit_code == 0
    body = arrays(made, tmp_path / "b", crop="body", interpolation="cubic", **HOW)
    assert body.exit_code == 0


def test_several_channels(tmp_path: Path, cluster_address: str, arrays: Export) -> None:
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    archive = write_decathlon(tmp_path, "brain")
    run = {"dataset": "decathlon", "report": False, "statistics": False}
    amos_dask.run(tmp_path / "root", archive.path, **run, **options)
    shapes = {}
    for form in FORMS:
        folder = tmp_path / form
        assert arrays(tmp_path / "root", folder, form=form, percentiles=(1, 99)).exit_code == 0
        entry = read(folder / "arrays.json")["samples"][0]
        if form == "nifti":
            each = [voxels(folder / name) for name in entry["image"]]
            shapes[form] = np.stack(each)
        else:
            shapes[form] = load(folder, entry, form)["volume"]
        assert len(read(folder / entry["record"])["windows"]) == 4
    assert np.array_equal(shapes["nifti"], shapes["npz"])
    assert np.array_equal(shapes["nifti"], shapes["zarr"])
    last = sorted((tmp_path / "root" / "grouped").rglob("*_volume_03_*.nii.gz"))[0]
    image = nib.load(last)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) + 1, image.affine), last)
    for form in FORMS:  # also where all channels are in one file
        assert codes(amos_dask.verify(tmp_path / form)) == {("outdated_export", "error")}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"orientation": "RAX"}, "RAX"),
        ({"spacing": "mean"}, "median"),
        ({"spacing": (1, 2)}, "spacing"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, float("nan"), 1)}, "finite"),
        ({"spacing": (0.001, 0.001, 0.001)}, "voxels"),
        ({"window": (2, 1)}, "window"),
        ({"window": (1e39, 1e40)}, "window"),
        ({"window": (1e8, 1e8 + 1)}, "window"),  # as float32 the same
        ({"window": (0, 1), "percentiles": (1, 99)}, "not both"),
        ({"percentiles": (-1, 99)}, "percentiles"),
        ({"crop": "head"}, "crop"),
        ({"margin": -1, "crop": "body"}, "margin"),
        ({"form": "hdf5"}, "form"),
        ({"interpolation": "nearest"}, "interpolation"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    options: dict[str, Any], told: str, made: Path, tmp_path: Path, arrays: Export
) -> None:
    with pytest.raises(AmosDaskError, match=told) as refused:
        arrays(made, tmp_path / "a", **options)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "a").exists()


def test_the_program_takes_them_as_options(
    made: Path, tmp_path: Path, cluster_address: str
) -> None:
    command = ["export", "arrays", tmp_path / "a", "--root_dir", made, "--orientation", "ras"]
    command += ["--spacing", "4", "4", "6", "--window", "-160", "240", "--format", "npz"]
    program(*command, "--crop", "body", "--cluster", cluster_address)
    settings = read(tmp_path / "a" / "arrays.json")["settings"]
    assert (settings["spacing_mm"], settings["window"]) == ([4, 4, 6], [-160, 240])
    assert (settings["orientation"], settings["margin_mm"]) == ("RAS", 10)
    program("export", "arrays", tmp_path / "b", "--spacing", "wide", exit_code=2)
