"""The loader on scans of several channels, masks per label, and ids that are no numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from phantoms import (
    OtherArchive,
    OtherSample,
    write_brats,
    write_decathlon,
    write_kits23,
    write_nnunet,
    write_totalsegmentator,
)
from roots import truncate, voxels

import amos_dask
from amos_dask import AMOS, AmosDaskError
from amos_dask.datasets import find_definition

Write = Callable[[Path], OtherArchive]
SEVERAL: dict[str, tuple[Write, str, tuple[str, ...]]] = {
    "brats": (write_brats, "brats", ("t1n", "t1c", "t2w", "t2f")),
    "brain": (
        partial(write_decathlon, task="brain"),
        "decathlon",
        ("FLAIR", "T1w", "t1gd", "T2w"),
    ),
    "nnunet": (write_nnunet, "nnunet", ("T2", "ADC")),
}


def seq_of(sample: OtherSample) -> str:
    return sample.sample_id.partition("_")[2]


def stored(archive: OtherArchive, sample: OtherSample) -> NDArray[Any]:
    """Return the voxels of all channels, channel first."""
    found = [voxels(archive.path / image) for image in sample.images]
    return np.stack(found) if found[0].ndim == 3 else np.moveaxis(found[0], 3, 0)


@pytest.mark.parametrize("name", SEVERAL)
def test_channels_come_first_or_one_by_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, dataset, names = SEVERAL[name]
    archive = write(tmp_path)
    ds = AMOS(archive.path, dataset=dataset)
    assert ds.channels == names
    assert ds.ids == [seq_of(sample) for sample in archive.samples]
    columns = [f"volume_{k:02d}_{channel}" for k, channel in enumerate(names)]
    for sample in archive.samples:
        i, expected = seq_of(sample), stored(archive, sample)
        found = ds.image(sample.sample_id)
        assert found.dtype == expected.dtype
        assert all(channel.flags.f_contiguous for channel in found)
        np.testing.assert_array_equal(found, expected)
        for number, channel in enumerate(names):
            for which in (number, channel):
                np.testing.assert_array_equal(ds.image(i, channel=which), expected[number])
        affine = nib.load(archive.path / sample.image).affine
        np.testing.assert_array_equal(ds.affine(i), affine)
        np.testing.assert_array_equal(ds.spacing(i), nib.affines.voxel_sizes(affine))
        files = list(sample.images) * (1 if sample.more_images else len(names))
        row = ds.frame.loc[i]
        assert [row["image"], *row[columns]] == [sample.image, *files]
        assert (ds.mask(i) is None) == (not sample.mask_name)
    lazy = [ds.image(i, lazy=True), ds.image(i, channel=names[-1], lazy=True)]
    assert [array.shape for array in lazy] == [expected.shape, expected.shape[1:]]
    np.testing.assert_array_equal(lazy[0].compute(), expected)
    np.testing.assert_array_equal(lazy[1].compute(), expected[-1])
    monkeypatch.setattr("amos_dask.loader._read_voxels", None)
    assert ds.image(i, lazy=True).dtype == expected.dtype
    with pytest.raises(TypeError):
        ds.image(i, lazy=True).compute()


def test_a_channel_that_is_not_there_is_named(tmp_path: Path) -> None:
    ds = AMOS(write_brats(tmp_path).path, dataset="brats")
    for channel in ("T1", "", 4, -1):
        with pytest.raises(AmosDaskError, match=f"no channel {channel!r}; there are t1n, t1c, t2w"):
            ds.image(ds.ids[0], channel=channel)


def test_the_only_channel(tmp_path: Path) -> None:
    ds = AMOS(write_nnunet(tmp_path, channels=["CT"]).path, dataset="nnunet")
    assert ds.channels == ()
    for channel in (0, "CT"):
        np.testing.assert_array_equal(ds.image("Case-2", channel=channel), ds.image("Case-2"))
    assert [name for name in ds.frame if name.startswith("volume")] == []
    kits = AMOS(write_kits23(tmp_path).path, dataset="kits23")
    assert kits.image(kits.ids[0], channel=0).ndim == 3
    with pytest.raises(AmosDaskError, match="no channel 1; there is but one"):
        kits.image(kits.ids[0], channel=1)


def test_a_channel_that_is_missing_damaged_or_elsewhere(tmp_path: Path) -> None:
    archive = write_brats(tmp_path, 2023)
    missing, damaged, elsewhere, _ = archive.samples
    (archive.path / missing.images[1]).unlink()
    truncate(archive.path / damaged.images[2])
    path = archive.path / elsewhere.images[3]
    image = nib.load(path)
    nib.save(nib.Nifti1Image(voxels(path), image.affine @ np.diag([1, 1, 2, 1])), path)
    ds = AMOS(archive.path, dataset="brats")
    with pytest.raises(AmosDaskError, match="has no file of t1c; name a channel that it has"):
        ds.image(missing.sample_id)
    assert ds.image(missing.sample_id, channel="t1c") is None
    assert ds.image(missing.sample_id, channel="t2w").ndim == 3
    assert ds.frame.loc[seq_of(missing), "volume_01_t1c"] is None
    with pytest.raises(AmosDaskError, match=r"-t2w\.nii\.gz: .*verify"):
        ds.image(damaged.sample_id)
    for lazy in (False, True):
        with pytest.raises(AmosDaskError, match=r"-t2f\.nii\.gz: lies up to .* another grid"):
            ds.image(elsewhere.sample_id, lazy=lazy)
    assert ds.image(elsewhere.sample_id, channel="t2f").ndim == 3


def test_masks_per_label_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_totalsegmentator(tmp_path, n_scans=3, n_labels=9, defects=True)
    ds = AMOS(archive.path, dataset="totalsegmentator")
    for sample in archive.samples[:2]:
        found = ds.mask(sample.sample_id)
        assert (found.dtype, found.flags.f_contiguous) == (np.uint8, True)
        np.testing.assert_array_equal(found, sample.labels)
        lazy = ds.mask(sample.sample_id, lazy=True)
        assert (lazy.shape, lazy.dtype) == (found.shape, found.dtype)
        np.testing.assert_array_equal(lazy.compute(), found)
    with pytest.raises(AmosDaskError, match=r"spleen\.nii\.gz: the file is no binary mask"):
        ds.mask(archive.samples[2].sample_id)
    first = archive.path / archive.samples[0].label_masks[0][1]
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), first)
    with pytest.raises(AmosDaskError, match="has the shape"):
        ds.mask(archive.samples[0].sample_id)


def test_values_that_stand_for_labels(tmp_path: Path) -> None:
    definition = tmp_path / "ours.yaml"
    definition.write_text(
        "{name: Ours, prefix: ours, volumes: '{id}/scan', masks: '{id}/mask', subsets: train,"
        " modality: ct, labels: {0: background, 1: heart, 2: vessel, 7: rest},"
        " label_values: {205: 1, 500: 2}}"
    )
    folder = tmp_path / "archive" / "case 1".replace(" ", "_")
    folder.mkdir(parents=True)
    mask = np.random.default_rng(0).choice(np.array([0, 7, 205, 500], np.int16), (4, 5, 6))
    for name in ("scan", "mask"):
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / f"{name}.nii.gz")
    ds = AMOS(tmp_path / "archive", dataset=definition)
    expected = np.select([mask == 205, mask == 500], [1, 2], mask)
    found = ds.mask("case_1")
    assert found.dtype == ds.mask("case_1", lazy=True).dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ds.mask("case_1", lazy=True).compute(), expected)
    np.testing.assert_array_equal(ds.image("case_1"), mask)
    nib.save(nib.Nifti1Image(mask + 1, np.eye(4)), folder / "mask.nii.gz")
    with pytest.raises(AmosDaskError, match=r"mask\.nii\.gz: .*of no label"):
        ds.mask("case_1")


def test_several_archives_are_one(tmp_path: Path) -> None:
    archive = write_kits23(tmp_path)
    whole = AMOS(archive.path, dataset="kits23")
    cases = sorted((archive.path / "dataset").glob("case_*"))
    for case in cases[1:]:
        shutil.move(case, tmp_path / "second" / case.name)
    ds = AMOS([archive.path, tmp_path / "second"], dataset="kits23")
    assert ds.ids == whole.ids
    assert len(AMOS([archive.path], dataset="kits23")) == 1
    for i in ds.ids:
        assert ds.image(i).shape == ds.mask(i).shape


@pytest.mark.parametrize("case", ["Case-2", "case"])
def test_what_stands_before_the_channel_is_no_prefix(case: str, tmp_path: Path) -> None:
    """An id without ``_`` is whole, also where it is the only one."""
    archive = write_nnunet(tmp_path, channels=["CT"])
    for path in archive.path.rglob("*.nii.gz"):
        if path.name.startswith("Case-2"):
            path.rename(path.with_name(path.name.replace("Case-2", case)))
        else:
            path.unlink()
    assert AMOS(archive.path, dataset="nnunet").ids == [case]


@pytest.mark.parametrize("dataset", ["decathlon", "totalsegmentator"])
def test_a_root_dir_gives_what_the_archive_gives(
    dataset: str, tmp_path: Path, cluster_address: str
) -> None:
    is_brain = dataset == "decathlon"
    archive = (
        write_decathlon(tmp_path, "brain")
        if is_brain
        else write_totalsegmentator(tmp_path, n_labels=9)
    )
    definition = tmp_path / "ours.yaml"
    content = {**find_definition(dataset).content, "denoise": "none"}
    definition.write_text(yaml.safe_dump(content))
    root = tmp_path / "root"
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none", "report": False}
    amos_dask.run(root, archive.path, dataset=definition, statistics=False, **options)
    ours, theirs = AMOS(root), AMOS(archive.path, dataset=definition)
    assert (ours.ids, ours.channels) == (theirs.ids, theirs.channels)
    assert list(ours.frame) == list(theirs.frame)
    for i in ours.ids:
        np.testing.assert_array_equal(ours.image(i), theirs.image(i))
        np.testing.assert_allclose(ours.affine(i), theirs.affine(i), rtol=1e-6)
        if theirs.mask(i) is None:
            assert ours.mask(i) is None
        else:
            np.testing.assert_array_equal(ours.mask(i), theirs.mask(i))
        if is_brain:
            found = ours.image(i, channel="t1gd", lazy=True)
            np.testing.assert_array_equal(found.compute(), theirs.image(i)[2])
