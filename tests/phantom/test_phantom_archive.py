"""What `write_archive` says it planted must be in the files when others read them."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from amos_dask.phantom import METADATA_NAME, Archive, write_archive
from amos_dask.phantom.archive import UNKNOWN_LABEL
from amos_dask.phantom.planted import DEFECTS, PlantedSample

FORMS = ("folder", "zip")
CT_SCANNERS = {"Aquilion ONE", "Brilliance16", "SOMATOM Force", "Optima CT660", "Optima CT540"}
MRI_SCANNERS = {"Ingenia", "Prisma", "SIGNA HDe", "Achieva"}
HEADER = (
    "amos_id,Patient's Birth Date,Patient's Sex,Patient's Age,Manufacturer's Model Name,"
    "Manufacturer,Acquisition Date,Site"
)


JUNK = ("__MACOSX/", "._", ".DS_Store", ".part")


def names_in(archive: Archive) -> list[str]:
    """Return all file names, relative to the archive."""
    if archive.path.is_dir():
        files = [path for path in archive.path.rglob("*") if path.is_file()]
        return sorted(path.relative_to(archive.path).as_posix() for path in files)
    with zipfile.ZipFile(archive.path) as file:
        return sorted(name for name in file.namelist() if not name.endswith("/"))


def junk_of(archive: Archive) -> list[str]:
    return [name for name in names_in(archive) if any(kind in name for kind in JUNK)]


def files_of(archive: Archive) -> dict[str, bytes]:
    """Name relative to the archive's root -> bytes, of everything but junk."""
    names = sorted({*names_in(archive)} - {*junk_of(archive)})
    if archive.path.is_dir():
        return {name: (archive.path / name).read_bytes() for name in names}
    with zipfile.ZipFile(archive.path) as file:
        return {name.removeprefix("amos22/amos22/"): file.read(name) for name in names}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return write_archive(tmp_path_factory.mktemp("zip"), form="zip")


def having(archive: Archive, quirk: str) -> list[PlantedSample]:
    found = [sample for sample in archive.samples if quirk in sample.quirks]
    assert found, f"no sample has {quirk}"
    return found


def image_of(archive: Archive, sample: PlantedSample) -> Any:
    return nib.load(archive.path / sample.image)


def mask_of(archive: Archive, sample: PlantedSample) -> Any:
    return nib.load(archive.path / sample.mask_name)


def rows_of(archive: Archive) -> list[dict[str, str]]:
    with archive.metadata_path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_default_archive(folder: Archive) -> None:
    assert len(folder.samples) == 12
    assert {(one.modality, one.subset) for one in folder.samples} == {
        (modality, subset) for modality in ("ct", "mri") for subset in ("train", "val", "test")
    }
    assert {one.scanner for one in folder.samples} == CT_SCANNERS | MRI_SCANNERS
    assert {one.sex for one in folder.samples} == {"F", "M", ""}
    assert {"0500", "0501", "0507", "0508", "0600"} <= {one.seq for one in folder.samples}
    for one in folder.samples:
        assert one.modality == ("ct" if int(one.seq) <= 500 else "mri")
        assert one.sample_id == f"amos_{one.seq}"


def test_files_are_where_the_records_say(folder: Archive) -> None:
    suffix = {"train": "Tr", "val": "Va", "test": "Ts"}
    names = set(files_of(folder))
    expected = {"dataset.json", "readme.md", folder.metadata_path.name}
    for one in folder.samples:
        expected.add(one.image)
        assert one.image.startswith(f"images{suffix[one.subset]}/amos_{one.seq}")
        if one.subset == "test":
            assert (one.mask, one.mask_name) == ("none", "")
        else:
            assert one.mask_name == f"labels{suffix[one.subset]}/amos_{one.seq}.nii.gz"
            expected.add(one.mask_name)
    assert names == expected


def test_volumes_and_masks_fit_and_have_all_labels(folder: Archive) -> None:
    for one in folder.samples:
        image = image_of(folder, one)
        assert image.shape[:3] == one.shape
        np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), one.spacing_mm, rtol=1e-5)
        if one.mask_name:
            mask = np.asanyarray(mask_of(folder, one).dataobj)
            assert mask.shape == one.shape
            assert mask.dtype == one.mask
            assert np.unique(mask).tolist() == list(range(16))


def test_mask_dtypes(folder: Archive) -> None:
    assert {one.mask for one in folder.samples} == {"none", "uint8", "int16", "int32", "float64"}


def test_storage_orders(folder: Archive) -> None:
    for codes in ("RAS", "LAS", "LPS", "PSR"):
        for one in having(folder, f"storage_{codes.lower()}"):
            assert "".join(nib.aff2axcodes(image_of(folder, one).affine)) == codes


def test_oblique_affines(folder: Archive) -> None:
    oblique = {one.seq for one in having(folder, "oblique")}
    for one in folder.samples:
        angle = nib.affines.obliquity(image_of(folder, one).affine).max()
        assert (angle > 1e-3) == (one.seq in oblique)


def test_qform_only_and_sform_only(folder: Archive) -> None:
    for one in having(folder, "qform_only"):
        header = image_of(folder, one).header
        assert header["sform_code"] == 0
        assert header["qform_code"] > 0
        assert not header["srow_x"].any()
    for one in having(folder, "sform_only"):
        header = image_of(folder, one).header
        assert header["qform_code"] == 0
        assert header["sform_code"] > 0


def affine_difference(archive: Archive, sample: PlantedSample) -> float:
    difference = mask_of(archive, sample).affine - image_of(archive, sample).affine
    return float(np.linalg.norm(difference))


def test_mask_affines(folder: Archive) -> None:
    for one in having(folder, "mask_affine_rounded"):
        assert 0 < affine_difference(folder, one) < 1e-4
    for one in having(folder, "mask_affine_shifted"):
        assert 1e-3 < affine_difference(folder, one) < 0.1
        codes = [nib.aff2axcodes(of(folder, one).affine) for of in (image_of, mask_of)]
        assert codes[0] == codes[1]
    for one in having(folder, "mask_affine_flipped"):
        codes = [nib.aff2axcodes(of(folder, one).affine) for of in (image_of, mask_of)]
        assert codes[0] != codes[1]
    for one in folder.samples:
        if one.mask_name and not any(quirk.startswith("mask_affine") for quirk in one.quirks):
            assert affine_difference(folder, one) == 0


def test_scaled_values(folder: Archive) -> None:
    for one in having(folder, "values_offset"):
        image = image_of(folder, one)
        assert image.dataobj.inter == -1024
        assert np.asanyarray(image.dataobj).dtype == np.float64
        assert -1024 <= image.get_fdata().min() < -990
    for one in having(folder, "values_slope"):
        image = image_of(folder, one)
        assert image.dataobj.slope not in (0, 1)
        assert np.asanyarray(image.dataobj).dtype == np.float64


@pytest.mark.parametrize(
    ("quirk", "dtype"), [("values_big_slope", "int16"), ("values_big_float", "float32")]
)
def test_values_that_no_int16_holds(folder: Archive, quirk: str, dtype: str) -> None:
    for one in having(folder, quirk):
        image = image_of(folder, one)
        assert image.get_data_dtype() == dtype
        assert image.get_fdata().max() == pytest.approx(186_452, rel=1e-6)


def test_one_frame(folder: Archive) -> None:
    for one in folder.samples:
        shape = image_of(folder, one).shape
        assert shape == ((*one.shape, 1) if "one_frame" in one.quirks else one.shape)
    assert any(one.mask_name for one in having(folder, "one_frame"))


def test_nnunet_names(folder: Archive) -> None:
    for one in having(folder, "nnunet_name"):
        assert one.image.endswith(f"amos_{one.seq}_0000.nii.gz")
    sections = json.loads((folder.path / "dataset.json").read_text())
    assert "_0000.nii.gz" not in json.dumps(sections)


def test_wrong_pixdim(folder: Archive) -> None:
    wrong = {one.seq for one in having(folder, "wrong_pixdim")}
    for one in folder.samples:
        pixdim = image_of(folder, one).header["pixdim"][1:4]
        fits = np.allclose(pixdim, one.spacing_mm, rtol=1e-4)
        assert fits == (one.seq not in wrong)


def test_dataset_json(folder: Archive) -> None:
    content = json.loads((folder.path / "dataset.json").read_text())
    sections = {"training": "train", "validation": "val", "test": "test"}
    for section, subset in sections.items():
        names = [entry if isinstance(entry, str) else entry["image"] for entry in content[section]]
        ids = [name.split("amos_")[1][:4] for name in names]
        assert ids == [one.seq for one in folder.samples if one.subset == subset]
    assert {type(entry) for entry in content["test"]} == {str, dict}
    assert all(set(entry) == {"image", "label"} for entry in content["training"])
    assert content["numTraining"] == len(content["training"])
    assert len(content["labels"]) == 16


def test_metadata_rows_are_shifted_for_mr(folder: Archive) -> None:
    rows = rows_of(folder)
    assert folder.metadata_path.read_text().splitlines()[0] == HEADER
    assert [int(row["amos_id"]) for row in rows] == [*range(1, 501), *range(500, 600)]
    ct_rows, mr_rows = rows[:500], rows[500:]
    assert {row["Manufacturer's Model Name"] for row in ct_rows} == CT_SCANNERS
    assert {row["Manufacturer's Model Name"] for row in mr_rows} == MRI_SCANNERS
    for one in folder.samples:
        number = int(one.seq)
        right = rows[number - 1]
        assert int(right["amos_id"]) == (number if number <= 500 else number - 1)
        assert right["Patient's Sex"] == one.sex
        assert right["Patient's Age"] == one.age
        assert right["Patient's Birth Date"] == one.birth_date
        assert right["Acquisition Date"] == one.acquisition_date
        assert right["Manufacturer's Model Name"] == one.scanner
        assert right["Manufacturer"] == one.manufacturer
        assert right["Site"] == one.site
        if 500 < number < 600:
            wrong = mr_rows[number - 500]
            assert wrong["Patient's Sex"] != one.sex
            assert wrong["Manufacturer's Model Name"] != one.scanner


@pytest.mark.parametrize("n_mri", [0, 1, 3, 4, 24])
def test_labelled_mr_scans_never_come_from_an_ingenia(tmp_path: Path, n_mri: int) -> None:
    archive = write_archive(tmp_path, n_ct=1, n_mri=n_mri, size="tiny")
    rows = rows_of(archive)[500:]
    scanners = [row["Manufacturer's Model Name"] for row in rows]
    assert all(first != second for first, second in itertools.pairwise(scanners))
    for one in archive.samples:
        if one.modality == "mri" and one.subset != "test":
            assert one.scanner in MRI_SCANNERS - {"Ingenia"}
            assert scanners[int(one.seq) - 501] == one.scanner


def test_missing_values_are_empty_fields(folder: Archive) -> None:
    for quirk, column in (("missing_sex", "Patient's Sex"), ("missing_age", "Patient's Age")):
        missing = {int(one.seq) for one in having(folder, quirk)}
        empty = {place for place, row in enumerate(rows_of(folder), 1) if row[column] == ""}
        assert missing == empty


def test_junk_is_there(folder: Archive, zipped: Archive) -> None:
    for archive in (folder, zipped):
        for kind in ("__MACOSX/", "._amos_0001.nii.gz", ".DS_Store", ".part"):
            assert any(kind in name for name in junk_of(archive))


def test_zip_has_a_nested_root_and_both_kinds_of_members(zipped: Archive) -> None:
    assert zipped.metadata_path.parent == zipped.path.parent
    with zipfile.ZipFile(zipped.path) as file:
        assert file.testzip() is None
        scans = [info for info in file.infolist() if info.filename.endswith(".nii.gz")]
        assert {info.compress_type for info in scans} == {
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
        }
        assert all(info.filename.startswith(("amos22/amos22/", "__MACOSX/")) for info in scans)


def test_both_forms_hold_the_same_bytes(folder: Archive, zipped: Archive) -> None:
    in_folder = files_of(folder)
    assert in_folder.pop(folder.metadata_path.name) == zipped.metadata_path.read_bytes()
    assert in_folder == files_of(zipped)
    assert folder.samples == zipped.samples


@pytest.mark.parametrize("form", FORMS)
def test_same_seed_same_bytes(tmp_path: Path, form: str) -> None:
    first, again, other = (
        write_archive(tmp_path / name, n_ct=3, n_mri=3, size="tiny", form=form, seed=seed)
        for name, seed in (("first", 7), ("again", 7), ("other", 8))
    )
    assert first.samples == again.samples
    assert files_of(first) == files_of(again)
    if form == "zip":
        assert first.path.read_bytes() == again.path.read_bytes()
    ours, others = files_of(first), files_of(other)
    assert all(ours[one.image] != others[one.image] for one in first.samples)


def test_scans_do_not_depend_on_the_size_of_the_archive(tmp_path: Path) -> None:
    few = write_archive(tmp_path / "few", n_ct=3, n_mri=0, size="tiny")
    many = write_archive(tmp_path / "many", n_ct=9, n_mri=2, size="tiny", defects=True)
    assert set(few.samples) <= set(many.samples)
    ours, theirs = files_of(few), files_of(many)
    assert all(ours[one.image] == theirs[one.image] for one in few.samples)


def test_gzip_streams_carry_no_time(folder: Archive) -> None:
    for one in folder.samples:
        assert (folder.path / one.image).read_bytes()[4:8] == bytes(4)


def test_without_quirks_all_is_plain(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, size="tiny", quirks=False)
    assert junk_of(archive) == []
    for one in archive.samples:
        assert one.quirks == ()
        assert one.sex
        assert one.age
        image = image_of(archive, one)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.get_data_dtype() == np.int16
        assert np.asanyarray(image.dataobj).dtype == np.int16


def test_defects(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, n_ct=3, n_mri=0, size="tiny", defects=True)
    broken = {one.defect: one for one in archive.samples if one.defect}
    assert set(broken) == set(DEFECTS)
    assert len(archive.samples) == 7
    with pytest.raises(EOFError):
        gzip.decompress((archive.path / broken["truncated_volume"].image).read_bytes())
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress((archive.path / broken["unreadable_mask"].mask_name).read_bytes())
    other = broken["mask_shape"]
    assert mask_of(archive, other).shape != image_of(archive, other).shape
    values = np.unique(np.asanyarray(mask_of(archive, broken["unknown_label"]).dataobj))
    assert UNKNOWN_LABEL in values
    for one in broken.values():
        if one.defect != "truncated_volume":
            image_of(archive, one).get_fdata()
        if one.defect in ("truncated_volume", "mask_shape", "unknown_label"):
            mask_of(archive, one).get_fdata()


@pytest.mark.parametrize(
    "arguments",
    [{"n_ct": 501}, {"n_mri": 101}, {"n_ct": -1}, {"size": "huge"}, {"form": "tar"}],
)
def test_impossible_requests_are_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        write_archive(tmp_path, **arguments)


def test_an_archive_is_never_overwritten(tmp_path: Path) -> None:
    write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny")
    with pytest.raises(FileExistsError):
        write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["amos22"], "nothing left behind"


def test_a_csv_of_somebody_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / METADATA_NAME).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{METADATA_NAME} is there already"):
        write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny", form="zip")
    assert (tmp_path / METADATA_NAME).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [METADATA_NAME]


def test_a_csv_that_is_the_same_stays(tmp_path: Path) -> None:
    first = write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny", form="zip")
    before = (first.path.read_bytes(), first.metadata_path.stat().st_mtime_ns)
    first.path.unlink()
    again = write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny", form="zip")
    assert (again.path.read_bytes(), again.metadata_path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_link_in_the_way_stays(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("amos22" if form == "folder" else "amos22.zip")
    path.symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="is there already"):
        write_archive(tmp_path, n_ct=1, n_mri=0, size="tiny", form=form)
    assert path.is_symlink()
