"""Masks and info files that somebody corrects by hand outlive every run, until they say so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from roots import (
    BARE,
    assert_same,
    besides_replaced,
    change_sex,
    contents,
    ct_archive,
    issues,
    program,
    put_back,
    table,
    voxels,
)

from amos_dask.phantom import METADATA_NAME

NAME = "amos_0001"
N_SCANS = 16  # of which ten have a mask, one for each way to save it


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes: 1, 4 and, without a mask, 500."""
    return ct_archive(tmp_path_factory.mktemp("source"), 3, seed=1)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a finished ROOT_DIR that no test changes."""
    folder = tmp_path_factory.mktemp("made")
    work, kept = folder / "work", folder / "kept"
    shutil.copytree(source, work / "archive")
    Place(work, cluster_address).run()
    return Path(shutil.copytree(work, kept)) / "AMOS22"


class Place:
    """A ROOT_DIR and its archive, which a test may change."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self.archive, self.root = folder / "archive", folder / "AMOS22"
        self._cluster = cluster

    def run(self, *words: str | Path, exit_code: int = 0) -> str:
        where = ("run", self.root, "--archive", self.archive, "--cluster", self._cluster)
        return program(*where, "--quiet", *BARE, *words, exit_code=exit_code).stdout

    def verify(self, exit_code: int = 0) -> str:
        words = ("verify", self.root, "--cluster", self._cluster)
        return program(*words, exit_code=exit_code).output

    def file(self, end: str) -> Path:
        (path,) = (self.root / "grouped").rglob(f"{NAME}_{end}")
        return path

    def codes(self) -> set[str]:
        return {issue["code"] for issue in issues(self.root) if issue["sample"] == NAME}

    def replaced(self) -> list[str]:
        found = (self.root / "replaced").rglob("*")
        return sorted(path.name for path in found if path.is_file())


@pytest.fixture
def place(made: Path, cluster_address: str) -> Place:
    return Place(put_back(made.parent, made.parent.with_name("work")), cluster_address)


def correct(path: Path) -> np.ndarray[Any, Any]:
    """Return a mask as a person corrects it."""
    labels = voxels(path).astype(np.uint8)
    labels[2:5, 2:5, 1] = 6
    labels[labels == 1] = 2
    return labels


def save_as(dtype: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        image = nib.load(path)
        edited = nib.Nifti1Image(correct(path).astype(dtype), image.affine, image.header)
        edited.set_data_dtype(dtype)
        nib.save(edited, path)

    return save


def save_canonical(path: Path) -> None:
    image = nib.load(path)
    turn = io_orientation(image.affine)
    labels = correct(path)
    affine = image.affine @ inv_ornt_aff(turn, labels.shape)
    nib.save(nib.Nifti1Image(apply_orientation(labels, turn), affine), path)


def save_in_another_order_of_axes(path: Path) -> None:
    image, labels = nib.load(path), correct(path)
    turn = np.array([[2, 1], [0, 1], [1, -1]])
    affine = image.affine @ inv_ornt_aff(turn, labels.shape)
    nib.save(nib.Nifti1Image(apply_orientation(labels, turn), affine), path)


def save_almost_whole(path: Path) -> None:
    image = nib.load(path)
    values = correct(path).astype(np.float32) * np.float32(1.0000001)
    nib.save(nib.Nifti1Image(values, image.affine), path)


def save_in_micron(path: Path) -> None:
    image = nib.load(path)
    edited = nib.Nifti1Image(correct(path), np.diag([1e3, 1e3, 1e3, 1]) @ image.affine)
    edited.header.set_xyzt_units("micron")
    nib.save(edited, path)


def save_with_another_qform(path: Path) -> None:
    image = nib.load(path)
    edited = nib.Nifti1Image(correct(path), image.affine)
    elsewhere = image.affine.copy()
    elsewhere[0, 3] += 100
    edited.set_sform(image.affine, 1)
    edited.set_qform(elsewhere, 1)
    nib.save(edited, path)


def save_with_four_axes(path: Path) -> None:
    image = nib.load(path)
    nib.save(nib.Nifti1Image(correct(path)[..., None], image.affine, image.header), path)


def save_without_header(path: Path) -> None:
    nib.save(nib.Nifti1Image(correct(path), nib.load(path).affine), path)


WAYS = {
    "uint8": save_as("uint8"),
    "int16": save_as("int16"),
    "float32": save_as("float32"),
    "canonical": save_canonical,
    "axes": save_in_another_order_of_axes,
    "rounded": save_almost_whole,
    "micron": save_in_micron,
    "qform": save_with_another_qform,
    "four axes": save_with_four_axes,
    "no header": save_without_header,
}


@dataclass(frozen=True)
class Edit:
    """A mask that was saved in one way, and what two runs made of it."""

    folder: Path
    name: str
    expected: np.ndarray[Any, Any]
    saved: bytes
    after: list[np.ndarray[Any, Any]] = field(default_factory=list)
    codes: list[set[str]] = field(default_factory=list)

    def file(self, end: str) -> Path:
        return self.folder / f"{self.name}_{end}"


@pytest.fixture(scope="module")
def edited(
    tmp_path_factory: pytest.TempPathFactory, cluster_address: str
) -> tuple[Path, dict[str, Edit]]:
    """Return a ROOT_DIR of which a mask was saved in each way; it was run twice since."""
    folder = tmp_path_factory.mktemp("edited")
    root, archive = folder / "AMOS22", ct_archive(folder, N_SCANS, seed=1)
    words = ("run", root, "--archive", archive, "--cluster", cluster_address, "--quiet", *BARE)
    program(*words)
    edits = {}
    masks = sorted((root / "grouped").rglob("amos_*_mask.nii.gz"))
    for way, mask in zip(WAYS, masks, strict=True):
        expected = correct(mask)
        WAYS[way](mask)
        edits[way] = Edit(mask.parent, mask.name[:9], expected, mask.read_bytes())
    for more in ((), ("--force", "--region_area_thresh", "300")):
        program(*words, *more)
        for edit in edits.values():
            edit.after.append(voxels(edit.file("mask.nii.gz")))
            found = {i["code"] for i in issues(root) if i["sample"] == edit.name}
            edit.codes.append(found)
    program("verify", root, "--cluster", cluster_address)
    return root, edits


@pytest.mark.parametrize("way", WAYS)
def test_an_edited_mask_outlives_runs_and_everything_follows_it(
    edited: tuple[Path, dict[str, Edit]], way: str
) -> None:
    root, edit = edited[0], edited[1][way]
    mask, expected = edit.file("mask.nii.gz"), edit.expected
    for found, codes in zip(edit.after, edit.codes, strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
        assert "edited_mask" in codes
    assert ("labels_rounded" in edit.codes[0]) == (way == "rounded")
    volume = nib.load(edit.file("volume.nii.gz"))
    for form in (nib.load(mask).get_sform(), nib.load(mask).get_qform()):
        np.testing.assert_allclose(form, volume.affine, atol=1e-4)
    assert nib.load(mask).header.get_xyzt_units()[0] == "mm"
    for label, name in ((1, "01_spleen"), (2, "02_right_kidney"), (6, "06_liver")):
        np.testing.assert_array_equal(voxels(edit.file(f"mask_{name}.nii.gz")), expected == label)
    row = table(root / "grouped" / "dataset_manifest.xlsx")[edit.name]
    assert row["valid_labels"] == ",".join(map(str, np.unique(expected)))
    assert row["mask_01_spleen_existence"] == 0
    kept = [p.read_bytes() for p in (root / "replaced").rglob(f"{edit.name}_*") if p.is_file()]
    assert kept == ([] if mask.read_bytes() == edit.saved else [edit.saved])


def test_regions_are_those_of_the_edited_mask(place: Place) -> None:
    mask = place.file("mask.nii.gz")
    labels = voxels(mask)
    labels[0, 0, 0] = 7
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(labels, image.affine, image.header), mask)
    place.run()
    for end in ("", "_after_modification"):
        name = f"small_connected_region_100{end}_manifest.xlsx"
        cell = table(place.root / "descriptor" / name)[NAME]["mask_07_stomach"]
        assert str(cell).startswith("(0,0,0,")


def test_discarding_edits_gives_the_original_bytes_back(place: Place) -> None:
    before = contents(place.root)
    mask, info = place.file("mask.nii.gz"), place.file("info.yaml")
    WAYS["int16"](mask)
    info.write_text(info.read_text().replace("age: '", "age: '9"), encoding="utf-8")
    place.run()
    assert contents(place.root)["grouped/" + mask.relative_to(place.root / "grouped").as_posix()]
    place.run("--discard_edits")
    assert_same(besides_replaced(before), besides_replaced(contents(place.root)))
    assert not {"edited_mask", "edited_info"} & place.codes()
    place.run()
    assert_same(besides_replaced(before), besides_replaced(contents(place.root)))
    assert mask.name in place.replaced()
    assert info.name in place.replaced()


def test_discarding_edits_before_any_run_has_seen_them(place: Place) -> None:
    before = contents(place.root)
    mask = place.file("mask.nii.gz")
    WAYS["uint8"](mask)
    saved = mask.read_bytes()
    place.run("--discard_edits")
    assert_same(besides_replaced(before), besides_replaced(contents(place.root)))
    (kept,) = (place.root / "replaced").rglob(mask.name)
    assert kept.read_bytes() == saved


def test_a_label_that_the_map_lacks_is_kept_and_said(place: Place) -> None:
    mask = place.file("mask.nii.gz")
    image, labels = nib.load(mask), correct(mask)
    labels[0, 0, 0] = 77
    nib.save(nib.Nifti1Image(labels, image.affine, image.header), mask)
    for _ in range(2):
        place.run(exit_code=3)
        np.testing.assert_array_equal(voxels(mask), labels)
        assert {"unknown_label", "edited_mask"} <= place.codes()


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def save_elsewhere(path: Path) -> None:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 50
    nib.save(nib.Nifti1Image(correct(path), affine), path)


def save_smaller(path: Path) -> None:
    nib.save(nib.Nifti1Image(correct(path)[1:], nib.load(path).affine), path)


def save_no_labels(path: Path) -> None:
    nib.save(nib.Nifti1Image(correct(path) * np.float32(0.3), nib.load(path).affine), path)


def save_with_a_negative_label(path: Path) -> None:
    labels = correct(path).astype(np.int16)
    labels[0, 0, 0] = -1
    nib.save(nib.Nifti1Image(labels, nib.load(path).affine), path)


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (spoil, ""),
        (save_elsewhere, "shape or affine"),
        (save_smaller, "shape or affine"),
        (save_no_labels, ""),
        (save_with_a_negative_label, "-1"),
    ],
)
def test_what_is_no_edited_mask_is_made_anew_and_kept_aside_and_why_is_said(
    place: Place, alter: Callable[[Path], None], why: str
) -> None:
    before = contents(place.root)
    mask = place.file("mask.nii.gz")
    alter(mask)
    saved = mask.read_bytes()
    place.run()
    assert_same(besides_replaced(before), besides_replaced(contents(place.root)))
    (kept,) = (place.root / "replaced").rglob(mask.name)
    assert kept.read_bytes() == saved
    (told,) = (issue for issue in issues(place.root) if issue["code"] == "replaced")
    assert told["file"].endswith(mask.name)
    assert why in told["message"]
    assert ("could not be taken as edited" in told["message"]) or not why


def test_an_edited_binary_mask_is_kept_aside_and_the_message_says_what_to_edit(
    place: Place,
) -> None:
    before = contents(place.root)
    path = place.file("mask_06_liver.nii.gz")
    WAYS["uint8"](path)
    place.run()
    assert_same(besides_replaced(before), besides_replaced(contents(place.root)))
    assert place.replaced() == [path.name]
    (told,) = (issue for issue in issues(place.root) if issue["code"] == "replaced")
    assert "edit the multi-label mask" in told["message"]


def test_an_edited_mask_moves_with_its_sample(place: Place) -> None:
    mask = place.file("mask.nii.gz")
    expected = correct(mask)
    WAYS["uint8"](mask)
    (mask.parent / "notes.txt").write_text("mine", encoding="utf-8")
    old = mask.parent.name
    new = old[:-1] + ("M" if old.endswith("F") else "F")
    change_sex(place.archive / METADATA_NAME, 1, new[-1])
    place.run()
    moved = place.file("mask.nii.gz")
    assert moved.parent.name == new
    np.testing.assert_array_equal(voxels(moved), expected)
    assert [path.name for path in mask.parent.iterdir()] == ["notes.txt"]
    assert "edited_mask" in place.codes()


def test_an_edited_mask_stays_when_the_archives_mask_changes(place: Place) -> None:
    mask = place.file("mask.nii.gz")
    expected = correct(mask)
    WAYS["uint8"](mask)
    place.run()
    (archived,) = place.archive.glob(f"labels*/{NAME}.nii.gz")
    image = nib.load(archived)
    nib.save(nib.Nifti1Image(voxels(archived)[::-1].copy(), image.affine, image.header), archived)
    for words in ((), ("--region_area_thresh", "300")):
        place.run(*words)
        np.testing.assert_array_equal(voxels(mask), expected)
        assert "edited_source_changed" in place.codes()


def test_a_mask_of_a_changed_archive_keeps_the_earlier_one_aside(place: Place) -> None:
    mask = place.file("mask.nii.gz")
    before = mask.read_bytes()
    (archived,) = place.archive.glob(f"labels*/{NAME}.nii.gz")
    image = nib.load(archived)
    nib.save(nib.Nifti1Image(voxels(archived)[::-1].copy(), image.affine, image.header), archived)
    place.run()
    assert mask.read_bytes() != before
    (kept,) = (place.root / "replaced").rglob(mask.name)
    assert kept.read_bytes() == before


def test_an_edited_info_file_is_kept_and_shown(place: Place) -> None:
    info = place.file("info.yaml")
    text = info.read_text(encoding="utf-8")
    edited = text.replace("site: '", "site: 'ward ").replace("subset: '", "subset: 'x")
    info.write_text(edited, encoding="utf-8")
    for words in ((), ("--force",)):
        place.run(*words)
        assert info.read_text(encoding="utf-8") == edited
        row = table(place.root / "grouped" / "dataset_manifest.xlsx")[NAME]
        assert str(row["site"]).startswith("ward ")
        assert row["subset"] in ("train", "val", "test")
        assert "edited_info" in place.codes()


def test_single_commands_do_what_they_are_asked_and_take_nothing_back(
    place: Place, cluster_address: str
) -> None:
    mask = place.file("mask.nii.gz")
    WAYS["uint8"](mask)
    saved, edited = mask.read_bytes(), voxels(mask)
    where = ("--root_dir", place.root / "grouped", "--cluster", cluster_address, "--quiet")
    program("denoise", *where, "--output_dir", place.root / "grouped", "--kernel_size", "3", "3")
    denoised = voxels(mask)
    place.run()
    np.testing.assert_array_equal(voxels(mask), denoised)
    if not np.array_equal(denoised, edited):
        (kept,) = (place.root / "replaced").rglob(mask.name)
        assert kept.read_bytes() == saved


def test_a_foreign_file_in_the_way_stops_its_sample_only(
    source: Path, made: Path, tmp_path: Path, cluster_address: str
) -> None:
    root = tmp_path / "AMOS22"
    (path,) = made.glob(f"grouped/*/*/*/*/{NAME}_mask.nii.gz")
    theirs = root / path.relative_to(made)
    theirs.parent.mkdir(parents=True)
    shutil.copyfile(path, theirs)
    WAYS["uint8"](theirs)
    saved = theirs.read_bytes()
    words = ("run", root, "--archive", source, "--cluster", cluster_address, "--quiet", *BARE)
    program(*words, exit_code=3)
    assert theirs.read_bytes() == saved
    assert [p.name for p in theirs.parent.iterdir()] == [theirs.name]
    found = [i for i in issues(root) if i["severity"] == "error"]
    assert [(i["sample"], i["code"]) for i in found] == [(NAME, "foreign_file")]
    assert "--adopt" in found[0]["action"]
    program(*words, "--adopt")
    assert theirs.read_bytes() == path.read_bytes()
    (kept,) = (root / "replaced").rglob(theirs.name)
    assert kept.read_bytes() == saved


def test_a_root_that_was_copied_without_its_state_goes_on(
    place: Place, source: Path, cluster_address: str
) -> None:
    shutil.rmtree(place.root / ".amos-dask")
    before = contents(place.root)
    inodes = {path: path.stat().st_ino for path in place.root.rglob("*.nii.gz")}
    place.run()
    assert_same(before, contents(place.root))
    assert {path: path.stat().st_ino for path in place.root.rglob("*.nii.gz")} == inodes
    assert not (place.root / "replaced").exists()


def test_a_command_on_an_edit_that_was_taken_up_keeps_it_aside_and_can_be_undone(
    place: Place, cluster_address: str
) -> None:
    mask = place.file("mask.nii.gz")
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(correct(mask), image.affine), mask)  # no word of denoising in it
    saved, edited = mask.read_bytes(), voxels(mask)
    place.run()
    where = ("--root_dir", place.root / "grouped", "--cluster", cluster_address, "--quiet")
    grouped = place.root / "grouped"
    program("denoise", *where, "--output_dir", grouped, "--region_area_thresh", "300")
    denoised = voxels(mask)
    assert not np.array_equal(denoised, edited)
    assert saved in [p.read_bytes() for p in (place.root / "replaced").rglob(mask.name)]
    place.run()
    np.testing.assert_array_equal(voxels(mask), denoised)
    program("restore", *where)
    np.testing.assert_array_equal(voxels(mask), edited)


def test_an_edited_mask_whose_source_is_gone_says_so(place: Place) -> None:
    mask = place.file("mask.nii.gz")
    WAYS["uint8"](mask)
    place.run()
    expected = voxels(mask)
    (archived,) = place.archive.glob(f"labels*/{NAME}.nii.gz")
    archived.unlink()
    for _ in range(2):
        place.run(exit_code=3)
        np.testing.assert_array_equal(voxels(mask), expected)
        assert {"edited_mask", "source_missing"} <= place.codes()
        assert "edited_source_changed" not in place.codes()


def test_a_mask_that_somebody_made_for_a_scan_without_one_is_nothing_missing(
    place: Place, cluster_address: str
) -> None:
    volume = next(p for p in place.root.rglob("*_volume.nii.gz") if "amos_0500" in p.name)
    mask = volume.with_name("amos_0500_mask.nii.gz")
    image = nib.load(volume)
    labels = np.zeros(image.shape, np.uint8)
    labels[4:12, 4:12, 1:3] = 6
    nib.save(nib.Nifti1Image(labels, image.affine), mask)
    where = ("--root_dir", place.root / "grouped", "--cluster", cluster_address, "--quiet")
    program("binary-masks", *where, "--ids", "500")
    for _ in range(2):
        place.run()
        np.testing.assert_array_equal(voxels(mask), labels)
    assert not [i for i in issues(place.root) if i["code"] == "source_missing"]


def test_verify_names_an_edit_and_counts_it_once_a_run_has_taken_it_up(place: Place) -> None:
    WAYS["float32"](place.file("mask.nii.gz"))
    assert "edited, run takes it up" in place.verify(exit_code=3)
    place.run()
    assert "1 of them edited by hand" in place.verify()


def test_a_command_that_leaves_an_edited_mask_alone_does_not_vouch_for_what_it_says(
    place: Place, cluster_address: str
) -> None:
    mask = place.file("mask.nii.gz")
    assert nib.load(mask).header["descrip"].item().startswith(b"amos-dask denoise")
    WAYS["uint8"](mask)  # by a program that keeps the word of denoising
    edited = voxels(mask)
    where = ("--root_dir", place.root / "grouped", "--cluster", cluster_address, "--quiet")
    program("binary-masks", *where)
    np.testing.assert_array_equal(voxels(place.file("mask_06_liver.nii.gz")), edited == 6)
    assert "edited, run takes it up" in place.verify(exit_code=3)
    place.run()
    np.testing.assert_array_equal(voxels(mask), edited)
    assert nib.load(mask).header["descrip"].item() == b""
    assert "edited_mask" in place.codes()


@pytest.mark.parametrize("way", ["float32", "canonical", "axes"])
def test_an_edit_that_no_run_has_seen_is_exported_as_masks_are_written(
    place: Place, cluster_address: str, tmp_path: Path, way: str
) -> None:
    mask = place.file("mask.nii.gz")
    expected = correct(mask)
    WAYS[way](mask)
    words = ("export", "nnunet", tmp_path / "out", "--root_dir", place.root)
    program(*words, "--cluster", cluster_address, "--quiet")
    (label,) = (tmp_path / "out").rglob(f"labelsTr/{NAME}.nii.gz")
    np.testing.assert_array_equal(voxels(label), expected, strict=True)
    volume = nib.load(place.file("volume.nii.gz"))
    np.testing.assert_allclose(nib.load(label).affine, volume.affine, atol=1e-5)
