"""The loader: voxels against nibabel, metadata against what was planted, wherever the data lie."""

from __future__ import annotations

import gzip
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from roots import sample_dir, table, truncate, voxels

from amos_dask import AMOS, AmosDaskError
from amos_dask.phantom import Archive, write_archive

CSV_HEADER = (
    "amos_id,Patient's Birth Date,Patient's Sex,Patient's Age,Manufacturer's Model Name,"
    "Manufacturer,Acquisition Date,Site\n"
)
# Names of the zips and of the folder inside each, as they are published.
UNLABELLED = {
    "amos22_unlabeled_ct_5000_5399.zip": ("amos_unlabeled_ct_5000_5399", (5000, 5001)),
    "amos22_unlabeled_ct_5400_5899.zip": ("amos_unlabeled_ct_5400_5899", (5400, 5514)),
    "amos22_unlabeled_ct_5900_6199.zip": ("amos22_unlabeled_ct_5900_6199", (5900,)),
    "amos22_unlabeled_ct_6200_6899.zip": ("amos22_unlabeled_6200_6899", (6200,)),
    "amos22_unlabeled_mri_7000_8199.zip": ("amos_unlabeled_mri_7000_8199", (7000,)),
}
METADATA = {
    "birth_date": "birth_date",
    "sex": "sex",
    "age": "age",
    "manufacturer_model": "scanner",
    "manufacturer": "manufacturer",
    "acquisition_date": "acquisition_date",
    "site": "site",
}


def nibabel_voxels(path: Path) -> NDArray[Any]:
    """Return the array as amid reads it, without axes of length 1 behind the third."""
    array = np.asarray(nib.load(path).dataobj)
    return array.reshape(array.shape[:3], order="F") if array.ndim > 3 else array


def assert_same_voxels(ours: Any, theirs: NDArray[Any]) -> None:
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == theirs.dtype.newbyteorder("=")
    assert ours.flags.f_contiguous
    assert ours.flags.writeable
    np.testing.assert_array_equal(ours, theirs)


def nifti(value: int, shape: tuple[int, int, int] = (4, 3, 2)) -> bytes:
    image = nib.Nifti1Image(np.full(shape, value, np.int16), np.diag([1.5, 2, 3, 1]))
    return gzip.compress(image.to_bytes())


def write_unlabelled(folder: Path, names: Mapping[str, Any] = UNLABELLED) -> None:
    """Write the zips of scans without labels: each scan's voxels are its number."""
    for name, (inner, numbers) in names.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(f"{inner}/", b"")
            archive.writestr(f"__MACOSX/{inner}/._amos_{numbers[0]}.nii.gz", b"junk")
            for number in numbers:
                content = nifti(number)
                damaged = content[: len(content) // 2] if number == 5514 else content
                archive.writestr(f"{inner}/amos_{number}.nii.gz", damaged)
    rows = "5000,19700101,F,050Y,Brilliance16,Philips,20200202,here\n5001,,M,,,,,\n"
    (folder / "unlabeled_data_meta_5000_5399.csv").write_text(CSV_HEADER + rows)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return the phantom as a zip, with the zips of scans without labels beside it."""
    folder = tmp_path_factory.mktemp("downloads")
    archive = write_archive(folder, seed=7, form="zip")
    write_unlabelled(folder)
    return archive


# ---------------------------------------------------------------- voxels


def test_scans_and_masks_of_a_folder_are_those_of_nibabel(phantom: Archive) -> None:
    ds = AMOS(phantom.path)
    assert ds.ids == [sample.seq for sample in phantom.samples]
    assert len(ds) == len(ds.ids)
    for sample in phantom.samples:
        path = phantom.path / sample.image
        assert_same_voxels(ds.image(sample.seq), nibabel_voxels(path))
        np.testing.assert_array_equal(ds.affine(sample.seq), nib.load(path).affine)
        np.testing.assert_array_equal(
            ds.spacing(sample.seq), nib.affines.voxel_sizes(nib.load(path).affine)
        )
        if sample.mask_name:
            mask = nibabel_voxels(phantom.path / sample.mask_name)
            assert_same_voxels(ds.mask(sample.seq), mask)
        else:
            assert ds.mask(sample.seq) is None


def test_a_zip_gives_what_the_folder_gives(phantom: Archive, zipped: Archive) -> None:
    folder, inside = AMOS(phantom.path), AMOS(zipped.path)
    assert [i for i in inside.ids if int(i) <= 600] == folder.ids
    for i in folder.ids:
        np.testing.assert_array_equal(inside.image(i), folder.image(i))
        np.testing.assert_array_equal(inside.affine(i), folder.affine(i))
        theirs = folder.mask(i)
        assert (inside.mask(i) is None) == (theirs is None)
        if theirs is not None:
            np.testing.assert_array_equal(inside.mask(i), theirs)
    labelled = inside.frame[[int(i) <= 600 for i in inside.frame.index]]
    columns = ["image_modality", "subset", *METADATA]
    assert labelled[columns].equals(folder.frame[columns])


@pytest.mark.parametrize("form", ["folder of downloads", "URL of the zip", "URL of the folder"])
def test_other_places_hold_the_same(form: str, zipped: Archive) -> None:
    downloads = zipped.path.parent
    location = {
        "folder of downloads": str(downloads),
        "URL of the zip": zipped.path.as_uri(),
        "URL of the folder": downloads.as_uri(),
    }[form]
    ds, expected = AMOS(location), AMOS(zipped.path)
    assert ds.ids == expected.ids
    for i in ("0001", "0507", "5000"):
        np.testing.assert_array_equal(ds.image(i), expected.image(i))
        assert ds.sex(i) == expected.sex(i)


def test_a_root_dir_gives_its_volumes_and_masks(phantom: Archive, processed_root: Path) -> None:
    ds = AMOS(processed_root)
    archive = AMOS(phantom.path)
    assert ds.ids == archive.ids
    for i in ds.ids:
        folder = sample_dir(processed_root, i)
        assert_same_voxels(ds.image(i), voxels(folder / f"amos_{i}_volume.nii.gz"))
        assert ds.image(i).dtype == np.float32
        written = nib.load(folder / f"amos_{i}_volume.nii.gz").affine
        np.testing.assert_array_equal(ds.affine(i), written)
        mask = folder / f"amos_{i}_mask.nii.gz"
        if mask.exists():
            assert_same_voxels(ds.mask(i), voxels(mask))
            assert ds.mask(i).dtype == np.uint8
        else:
            assert ds.mask(i) is None
        for name in ("image_modality", "subset", *METADATA):
            assert getattr(ds, name)(i) == getattr(archive, name)(i)


@pytest.mark.parametrize("below", ["grouped", "grouped/AMOS-CT", "grouped/AMOS-MRI"])
def test_parts_of_a_root_dir_can_be_loaded(below: str, processed_root: Path) -> None:
    (manifest,) = (processed_root / below).glob("dataset_manifest*.xlsx")
    ds = AMOS(processed_root / below)
    assert [f"amos_{i}" for i in ds.ids] == list(table(manifest))
    assert all(ds.image(i) is not None for i in ds.ids)


# ---------------------------------------------------------------- metadata


def test_metadata_is_what_was_planted_for_the_scan(phantom: Archive) -> None:
    ds = AMOS(phantom.path)
    for sample in phantom.samples:
        assert ds.subset(sample.seq) == sample.subset
        assert ds.image_modality(sample.seq) == {"ct": "CT", "mri": "MRI"}[sample.modality]
        for method, field in METADATA.items():
            assert getattr(ds, method)(sample.seq) == (getattr(sample, field) or None)


def test_mr_scans_take_the_right_row_of_the_csv(phantom: Archive) -> None:
    right, asked = AMOS(phantom.path), AMOS(phantom.path, mr_metadata_offset="0")
    mr = [i for i in right.ids if right.image_modality(i) == "MRI"]
    planted = {sample.seq: sample for sample in phantom.samples}
    assert mr
    assert [right.manufacturer_model(i) for i in mr] == [planted[i].scanner for i in mr]
    assert all(right.manufacturer_model(i) != asked.manufacturer_model(i) for i in mr)
    # Where amid gives up, as row 500 occurs twice and row 600 not at all.
    assert right.manufacturer_model("0500") == planted["0500"].scanner
    assert right.manufacturer_model("0600") == planted["0600"].scanner


def test_a_csv_elsewhere_can_be_named(phantom: Archive, tmp_path: Path) -> None:
    archive = tmp_path / "amos22"
    shutil.copytree(phantom.path / "imagesTr", archive / "imagesTr")
    assert AMOS(archive).sex("0001") is None
    csv = shutil.copy(phantom.metadata_path, tmp_path / "elsewhere.csv")
    assert AMOS(archive, labeled_data_meta=str(csv)).sex("0001") == AMOS(phantom.path).sex("0001")


def test_the_encoding_of_a_csv_can_be_named(phantom: Archive, tmp_path: Path) -> None:
    text = phantom.metadata_path.read_text(encoding="utf-8")
    csv = tmp_path / "meta.csv"
    csv.write_bytes(text.replace("center", "Győr").encode("cp1250"))
    recognised = AMOS(phantom.path, labeled_data_meta=str(csv))
    named = AMOS(phantom.path, labeled_data_meta=str(csv), metadata_encoding="cp1250")
    assert (recognised.sex("0001"), named.sex("0001")) == (AMOS(phantom.path).sex("0001"),) * 2
    with pytest.raises(AmosDaskError, match="--metadata_encoding"):
        AMOS(phantom.path, labeled_data_meta=str(csv), metadata_encoding="utf-16")


# ---------------------------------------------------------------- scans without labels


def test_zips_of_scans_without_labels_are_found_beside_the_archive(zipped: Archive) -> None:
    ds = AMOS(zipped.path)
    expected = sorted(f"{n}" for _, numbers in UNLABELLED.values() for n in numbers)
    assert [i for i in ds.ids if int(i) > 600] == expected
    assert len(ds) == len(zipped.samples) + len(expected)
    assert ds.ids == sorted(ds.ids)
    for i in expected:
        assert ds.mask(i) is None
        assert ds.subset(i) is None
        assert ds.image_modality(i) == ("MRI" if int(i) >= 7000 else "CT")
        if i != "5514":
            assert (ds.image(i) == int(i)).all()
            assert ds.image(i).dtype == np.int16
            np.testing.assert_array_equal(ds.spacing(i), [1.5, 2, 3])
    assert (ds.sex("5000"), ds.manufacturer_model("5000")) == ("F", "Brilliance16")
    assert (ds.sex("5001"), ds.birth_date("5001"), ds.site("5001")) == ("M", None, None)
    assert ds.sex("6200") is None


def test_they_are_found_beside_a_root_dir_and_alone(processed_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "AMOS22"
    shutil.copytree(processed_root / "grouped", root / "grouped")
    n_labelled = len(AMOS(root))
    write_unlabelled(tmp_path)
    assert len(AMOS(root)) == n_labelled + 7
    shutil.rmtree(root)
    alone = AMOS(tmp_path)
    assert len(alone) == 7
    assert AMOS(tmp_path / "amos22_unlabeled_ct_5000_5399.zip").ids == alone.ids


def test_one_of_the_zips_is_enough(phantom: Archive, tmp_path: Path) -> None:
    shutil.copytree(phantom.path, tmp_path / "amos22")
    name = "amos22_unlabeled_ct_6200_6899.zip"
    write_unlabelled(tmp_path, {name: UNLABELLED[name]})
    (tmp_path / "unlabeled_data_meta_5000_5399.csv").unlink()
    assert AMOS(tmp_path / "amos22").ids[-2:] == ["0600", "6200"]


def test_an_unusable_csv_of_them_is_said_and_costs_nothing_else(tmp_path: Path) -> None:
    write_unlabelled(tmp_path)
    (tmp_path / "unlabeled_data_meta_5000_5399.csv").write_text("not,a,table\n1,2,3\n")
    with pytest.warns(UserWarning, match=r"unlabeled_data_meta_5000_5399\.csv: column 'amos_id'"):
        ds = AMOS(tmp_path)
    assert ds.sex("5000") is None
    assert (ds.image("5000") == 5000).all()


# ---------------------------------------------------------------- damage


def test_scans_that_were_published_damaged_say_so(zipped: Archive) -> None:
    ds = AMOS(zipped.path)
    for read in (ds.image, lambda i: ds.image(i, lazy=True).compute()):
        with pytest.raises(AmosDaskError, match="5514 is damaged in the archive as it was publish"):
            read("5514")
    assert list(ds.frame.index[ds.frame["damaged"]]) == ["5514"]


def test_other_damage_is_not_blamed_on_the_publishers(phantom: Archive, tmp_path: Path) -> None:
    copy = tmp_path / "amos22"
    shutil.copytree(phantom.path, copy)
    truncate(copy / "imagesTr" / "amos_0001.nii.gz")
    (copy / "imagesTr" / "amos_0009.nii.gz").write_bytes(b"")
    ds = AMOS(copy)
    with pytest.raises(AmosDaskError, match=r"amos_0001\.nii\.gz: .*verify") as caught:
        ds.image("0001")
    assert "published" not in str(caught.value)
    for read in (ds.affine, ds.spacing, ds.image, lambda i: ds.image(i, lazy=True)):
        with pytest.raises(AmosDaskError, match=r"amos_0009\.nii\.gz: the file is empty|too short"):
            read("0009")


# ---------------------------------------------------------------- lazily, in frames, by id


def test_lazy_arrays_are_dask_arrays_of_the_same_values(
    phantom: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = AMOS(phantom.path)
    for i in ds.ids:
        lazy = ds.image(i, lazy=True)
        assert isinstance(lazy, da.Array)
        now = ds.image(i)
        assert (lazy.shape, lazy.dtype, lazy.npartitions) == (now.shape, now.dtype, 1)
        np.testing.assert_array_equal(lazy.compute(), now)
    mask = ds.mask("0001", lazy=True)
    assert int((mask == 6).sum().compute()) == int((ds.mask("0001") == 6).sum())
    assert ds.mask(next(i for i in ds.ids if ds.subset(i) == "test"), lazy=True) is None


def test_nothing_but_the_header_is_read_before_a_lazy_array_is_computed(
    monkeypatch: pytest.MonkeyPatch, phantom: Archive
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise AssertionError("read")

    monkeypatch.setattr("amos_dask.loader._read_voxels", refuse)
    lazy = AMOS(phantom.path).image("0001", lazy=True)
    assert lazy.ndim == 3
    with pytest.raises(AssertionError, match="read"):
        lazy.compute()


def test_lazy_arrays_can_be_computed_by_a_cluster(zipped: Archive, cluster_address: str) -> None:
    from distributed import Client

    ds = pickle.loads(pickle.dumps(AMOS(zipped.path)))
    with Client(cluster_address):
        largest = da.stack([ds.image("5000", lazy=True), ds.image("5001", lazy=True)]).max()
        assert int(largest.compute()) == 5001


def test_the_frame_has_a_row_an_id(zipped: Archive) -> None:
    ds = AMOS(zipped.path)
    frame = ds.frame
    assert list(frame.index) == ds.ids
    assert list(frame.columns) == [
        "image_modality",
        "subset",
        *METADATA,
        "image",
        "mask",
        "damaged",
    ]
    for name in ("image_modality", "subset", *METADATA):
        assert list(frame[name]) == [getattr(ds, name)(i) for i in ds.ids]
    assert frame.loc["5000", "image"] == "amos_unlabeled_ct_5000_5399/amos_5000.nii.gz"
    assert frame.loc["0001", "mask"].endswith("labelsTr/amos_0001.nii.gz")
    assert frame.loc["5000", "mask"] is None


@pytest.mark.parametrize("i", ["0001", 1, "1", "amos_0001"])
def test_an_id_may_be_written_in_several_ways(phantom: Archive, i: str | int) -> None:
    ds = AMOS(phantom.path)
    assert ds.sex(i) == ds.sex("0001")
    assert ds.image(i).shape == ds.image("0001").shape


@pytest.mark.parametrize("i", ["0002", 99999, "", "x", "-1"])
def test_an_id_that_is_not_there_is_named(phantom: Archive, i: str | int) -> None:
    with pytest.raises(AmosDaskError, match=f"there is no scan {i!r}"):
        AMOS(phantom.path).image(i)


# ---------------------------------------------------------------- nothing usable


def test_a_place_without_scans_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AmosDaskError, match="no such folder"):
        AMOS(tmp_path / "nowhere")
    with pytest.raises(AmosDaskError, match="no scans found"):
        AMOS(tmp_path)
    with pytest.raises(AmosDaskError, match="no such zip"):
        AMOS(tmp_path / "amos22.zip")


def test_an_unfinished_root_dir_is_not_taken_for_an_archive(
    processed_root: Path, phantom: Archive, tmp_path: Path
) -> None:
    root = tmp_path / "AMOS22"
    shutil.copytree(processed_root / "grouped", root / "grouped")
    shutil.copytree(phantom.path, root / "archive")
    (root / "grouped" / "dataset_manifest.xlsx").unlink()
    with pytest.raises(AmosDaskError, match="no dataset manifest yet; finish"):
        AMOS(root)


def test_a_root_dir_before_its_run_gives_its_archive(phantom: Archive, tmp_path: Path) -> None:
    shutil.copytree(phantom.path, tmp_path / "archive")
    assert AMOS(tmp_path).ids == AMOS(phantom.path).ids


def test_big_endian_and_scaled_voxels(tmp_path: Path) -> None:
    path = tmp_path / "imagesTr" / "amos_0001.nii.gz"
    path.parent.mkdir()
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(np.arange(24, dtype=">i2").reshape(2, 3, 4), np.eye(4), header)
    nib.save(image, path)
    ds = AMOS(tmp_path)
    assert_same_voxels(ds.image("0001"), nibabel_voxels(path))
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, path)
    assert_same_voxels(ds.image("0001"), nibabel_voxels(path))


def test_a_slice_is_shown_with_its_labels(phantom: Archive) -> None:
    ds = AMOS(phantom.path)
    labelled = next(i for i in ds.ids if ds.mask(i) is not None)
    mask = ds.mask(labelled)
    picture = ds.show(labelled)
    assert picture.mode == "RGB"
    assert max(picture.size) >= 512
    width, height = picture.size
    spacing = ds.spacing(labelled)
    assert width / height == pytest.approx(
        mask.shape[0] * spacing[0] / (mask.shape[1] * spacing[1]), rel=0.02
    )
    fullest = int(np.argmax(np.count_nonzero(mask, axis=(0, 1))))
    assert np.array_equal(picture, ds.show(labelled, fullest))
    assert is_coloured(picture)
    unlabelled = next(i for i in ds.ids if ds.mask(i) is None and ds.image(i) is not None)
    assert not is_coloured(ds.show(unlabelled))
    assert picture._repr_png_()[:4] == b"\x89PNG"


def test_a_slice_that_is_not_there_is_named(phantom: Archive) -> None:
    ds = AMOS(phantom.path)
    for k in (9999, -1):
        with pytest.raises(AmosDaskError, match=rf"no slice {k}; there are 0 to"):
            ds.show(ds.ids[0], k)


def is_coloured(picture: Any) -> bool:
    red, green, blue = np.asarray(picture, np.int16).transpose(2, 0, 1)
    return bool((abs(red - green) + abs(green - blue) > 20).any())
