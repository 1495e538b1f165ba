"""``run`` again after something changed: what is kept, what is mended, what is said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from openpyxl import load_workbook
from roots import (
    BARE,
    archive_task,
    assert_same,
    change_sex,
    contents,
    ct_archive,
    errors,
    issues,
    make_inaccessible,
    program,
    put_back,
    sample_dir,
    snapshot,
    table,
    truncate,
    voxels,
)
from samples import discover_one

import amos_dask
from amos_dask.cli import main
from amos_dask.datasets import AMOS22
from amos_dask.labels import LabelMap
from amos_dask.phantom import METADATA_NAME
from amos_dask.records import HeaderCheck
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import Origin, Receipts
from amos_dask.root.staging import Journal
from amos_dask.sample.make import make_sample

# Seen on 16x14 slices; the tutorial's own 10 mm2 is less than a pixel of these.
DENOISE = ("--region_area_thresh", "100")
DENOISE_OTHERWISE = (*BARE, "--region_area_thresh", "300")
DENOISE_NOTHING = (*BARE, *DENOISE, "--kernel_size", "1", "1")
ALL = ["amos_0001", "amos_0004", "amos_0009", "amos_0500"]
MASKED = ["amos_0001", "amos_0004", "amos_0009"]
REGIONS = "small_connected_region_{}{}_manifest.xlsx"
AFTER = "_after_modification"
VOLUME_4, MASK_4 = "imagesTr/amos_0004.nii.gz", "labelsTr/amos_0004.nii.gz"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes: 1 (F), 4 (M), 9 (F) and, without a mask, 500."""
    return ct_archive(tmp_path_factory.mktemp("source"), 4)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR after a good run that no test changes; its archive is beside it."""
    work = tmp_path_factory.mktemp("made") / "work"
    shutil.copytree(source, work / "archive")
    Place(work, cluster_address).run("--quiet")
    return Path(shutil.copytree(work, work.with_name("kept"))) / "AMOS22"


class Place:
    """A ROOT_DIR and an archive that a test may change.

    Parameters
    ----------
    folder : Path
        Where both are.
    cluster : str
        Address of the cluster.
    """

    def __init__(self, folder: Path, cluster: str) -> None:
        self.root = folder / "AMOS22"
        self.archive = folder / "archive"
        self.grouped = self.root / "grouped"
        self.descriptor = self.root / "descriptor"
        self._cluster = cluster

    def run(
        self, *words: str | Path, exit_code: int = 0, how: Sequence[str] = (*DENOISE, *BARE)
    ) -> Result:
        """Run everything, or what is chosen."""
        where = ("run", self.root, "--archive", self.archive)
        return program(*where, *how, "--cluster", self._cluster, *words, exit_code=exit_code)

    def command(self, *words: str | Path, exit_code: int = 0) -> Result:
        """Run a single command on the cluster."""
        return program(*words, "--cluster", self._cluster, "--quiet", exit_code=exit_code)

    def regions(self, *, after: bool, threshold: str = "100") -> Path:
        """Return a manifest of small regions."""
        return self.descriptor / REGIONS.format(threshold, AFTER if after else "")

    def region_ids(self) -> list[list[str]]:
        """Return the samples of the region manifests before and after denoising."""
        return [list(table(self.regions(after=after))) for after in (False, True)]

    def dataset(self) -> dict[str, dict[str, Any]]:
        """Return the dataset manifest's rows."""
        return table(self.grouped / "dataset_manifest.xlsx")


@pytest.fixture
def empty(source: Path, tmp_path: Path, cluster_address: str) -> Place:
    """Return a place with an archive and nothing else."""
    shutil.copytree(source, tmp_path / "archive")
    return Place(tmp_path, cluster_address)


@pytest.fixture
def place(made: Path, cluster_address: str) -> Place:
    """Return a place after a good run."""
    return Place(put_back(made.parent, made.parent.with_name("work")), cluster_address)


def write_label_map(path: Path, names: dict[int, str]) -> Path:
    """Write a label map that differs from AMOS22's in some names."""
    entries = tuple((AMOS22.label_map.names() | names).items())
    path.write_text(LabelMap(entries).to_yaml(), encoding="utf-8")
    return path


def assert_paths_exist(place: Place) -> None:
    """Fail when a manifest of the dataset names a file that is not there."""
    for workbook in place.grouped.rglob("dataset_manifest*.xlsx"):
        for row in table(workbook).values():
            named = [v for v in row.values() if str(v).endswith((".nii.gz", ".yaml"))]
            assert len(named) >= 2
            assert [name for name in named if not (workbook.parent / name).is_file()] == []


# ---------------------------------------------------------------- files out of reach, damaged


@pytest.mark.parametrize("name", [VOLUME_4, MASK_4])
def test_a_file_out_of_reach_costs_no_earlier_output_and_is_mended_within_reach(
    place: Place, made: Path, name: str
) -> None:
    content = (place.archive / name).read_bytes()
    make_inaccessible(place.archive / name)
    place.run("--quiet", exit_code=3)
    kind = "volume" if name == VOLUME_4 else "mask"
    assert errors(place.root) == {("amos_0004", f"unreadable_{kind}")}
    assert_same(contents(made, "grouped"), contents(place.root, "grouped"))
    assert place.region_ids() == [MASKED, MASKED]
    (place.archive / name).unlink()
    (place.archive / name).write_bytes(content)
    place.run("--quiet")
    assert_same(contents(made), contents(place.root))


def test_a_sample_out_of_reach_stays_in_the_manifests(place: Place) -> None:
    make_inaccessible(place.archive / VOLUME_4)
    place.run("--quiet", exit_code=3, how=DENOISE_OTHERWISE)
    assert list(place.dataset()) == ALL
    assert_paths_exist(place)


def test_other_voxels_of_the_same_geometry_are_in_the_statistics(place: Place) -> None:
    statistics, volume = place.descriptor / "statistics.json", place.archive / VOLUME_4
    place.run("--quiet", how=(*DENOISE, "--no_report"))
    before = statistics.read_bytes()
    image = nib.load(volume)
    nib.save(nib.Nifti1Image(voxels(volume) + 50, image.affine, image.header), volume)
    place.run("--quiet", how=(*DENOISE, "--no_report"))
    assert statistics.read_bytes() != before


def test_issues_of_a_volume_outlive_steps_on_its_mask(empty: Place) -> None:
    with (empty.archive / VOLUME_4).open("ab") as file:
        file.write(b"more than an image")
    empty.run("--quiet")
    before = issues(empty.root)
    assert "trailing_bytes" in {issue["code"] for issue in before}
    mask = sample_dir(empty.grouped, "0004") / "amos_0004_mask.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(voxels(mask)[::-1], image.affine, image.header), mask)
    empty.command("binary-masks", "--root_dir", empty.grouped)
    empty.run("--quiet")
    codes = {issue["code"] for issue in issues(empty.root)}
    # What it still said of denoising is taken out, and the file itself kept.
    assert codes == {*(issue["code"] for issue in before), "edited_mask", "replaced"}


def test_telling_prostate_from_uterus_leaves_binary_masks_of_unknown_labels(place: Place) -> None:
    folder = sample_dir(place.grouped, "0001")
    mask = folder / "amos_0001_mask.nii.gz"
    image, labels = nib.load(mask), voxels(mask)
    labels[labels == 16] = 15
    labels[0, 0, 0], labels[1, 0, 0] = 99, 15
    nib.save(nib.Nifti1Image(labels, image.affine, image.header), mask)
    before = sorted(folder.glob("*_mask_*"))
    assert before
    place.command("split-prostate-uterus", "--root_dir", place.grouped)
    assert voxels(mask)[1, 0, 0] == 16
    assert sorted(folder.glob("*_mask_*")) == before


@pytest.mark.parametrize("is_same", [True, False])
def test_headers_of_a_file_that_was_replaced_meanwhile_are_not_kept(
    empty: Place, *, is_same: bool
) -> None:
    sample = next(s for s in discover_one(str(empty.archive)).samples if s.seq == "0004")
    task = archive_task(sample, empty.root)
    planned = task.source.find_origin() if is_same else Origin()
    make_sample(replace(task, planned=planned, headers=HeaderCheck("amos_0004", (), ())))
    receipt = Receipts(Layout(empty.root)).read("amos_0004")
    assert receipt is not None
    assert (receipt.headers is not None) == is_same


def test_confirm_pairs_leaves_earlier_output_of_a_volume_out_of_reach(
    place: Place, made: Path
) -> None:
    make_inaccessible(place.archive / VOLUME_4)
    confirm_pairs(place, exit_code=3)
    assert errors(place.root) == {("amos_0004", "unreadable_volume")}
    old, kept = (sample_dir(root, "0004") for root in (made, place.root))
    assert snapshot(kept) == snapshot(old)


def test_a_damaged_volume_leaves_earlier_output(place: Place) -> None:
    before = contents(place.root, "grouped")
    truncate(place.archive / VOLUME_4)
    place.run("--quiet", exit_code=3)
    assert errors(place.root) == {("amos_0004", "unreadable_volume")}
    assert list(place.dataset()) == ALL
    assert_same(before, contents(place.root, "grouped"))
    assert empty_folders(place.grouped) == []


def empty_folders(root: Path) -> list[Path]:
    """Return the folders that hold nothing."""
    return [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_a_failed_volume_leaves_no_empty_folder(empty: Place) -> None:
    truncate(empty.archive / VOLUME_4)
    empty.run("--quiet", exit_code=3)
    assert empty_folders(empty.grouped) == []


# ---------------------------------------------------------------- a part of the samples


def confirm_pairs(place: Place, exit_code: int = 0) -> None:
    """Organise the CT samples."""
    manifest = place.descriptor / "archive_manifest.xlsx"
    words = ["confirm-pairs", "--modality", "ct", "--root_dir", place.archive]
    words += ["--output_dir", place.grouped / "AMOS-CT", "--archive_manifest", manifest]
    place.command(*words, exit_code=exit_code)


def test_a_part_after_single_commands_leaves_manifests_whole(empty: Place, made: Path) -> None:
    manifest = empty.descriptor / "archive_manifest.xlsx"
    read = ("--root_dir", empty.archive)
    empty.command("archive-manifest", *read, "--output_manifest_file", manifest)
    confirm_pairs(empty)
    work = ("--root_dir", empty.grouped)
    empty.command("split-prostate-uterus", *work)
    empty.command("denoise", *work, "--output_dir", empty.grouped, *DENOISE)
    empty.run("--ids", "1", "--quiet")
    assert_same(contents(made), contents(empty.root))


def test_a_sample_that_confirm_pairs_moved_is_in_every_manifest(place: Place) -> None:
    change_sex(place.archive / METADATA_NAME, 4, "F")
    manifest = place.descriptor / "archive_manifest.xlsx"
    words = ("archive-manifest", "--root_dir", place.archive)
    place.command(*words, "--output_manifest_file", manifest)
    confirm_pairs(place)
    place.run("--ids", "1", "--quiet")
    assert sample_dir(place.grouped, "0004").name == "amos_0004_F"
    assert list(place.dataset()) == ALL
    assert place.dataset()["amos_0004"]["sex"] == "F"
    assert place.region_ids() == [MASKED, MASKED]
    assert_paths_exist(place)
    index = place.grouped / "AMOS-CT/splits/split01_standard/split01_standard_train.xlsx"
    assert "amos_0004_F/" in table(index)["amos_0004"]["volume"]


def test_deleted_masks_are_said_and_not_in_the_manifests_until_a_full_run_mends_them(
    place: Place, made: Path
) -> None:
    (sample_dir(place.grouped, "0004") / "amos_0004_mask_06_liver.nii.gz").unlink()
    (sample_dir(place.grouped, "0009") / "amos_0009_mask.nii.gz").unlink()
    place.run("--ids", "1", "--quiet", exit_code=3)
    assert errors(place.root) == {("amos_0004", "missing_file"), ("amos_0009", "missing_file")}
    rows = place.dataset()
    assert list(rows) == ALL
    assert rows["amos_0004"]["mask_06_liver"] is None
    assert rows["amos_0004"]["mask_01_spleen"] is not None
    assert (rows["amos_0009"]["mask"], rows["amos_0009"]["valid_labels"]) == (None, None)
    assert place.region_ids() == [["amos_0001", "amos_0004"]] * 2
    assert_paths_exist(place)
    place.run("--quiet")
    assert_same(contents(made), contents(place.root))


def test_region_manifests_tell_of_the_masks_as_they_are(place: Place, made: Path) -> None:
    place.run("--quiet", how=DENOISE_NOTHING)
    work = ("--root_dir", place.grouped)
    place.command(
        "denoise", *work, "--output_dir", place.grouped, *DENOISE, "--kernel_size", "5", "5"
    )
    now = place.descriptor / "now.xlsx"
    where = ("--region_volume_thresh", "100", "--output_manifest", now)
    place.command("small-regions", *work, *where)
    place.run("--ids", "1", "--quiet", how=DENOISE_NOTHING)
    before, after = table(place.regions(after=False)), table(place.regions(after=True))
    assert before == table(made / "descriptor" / REGIONS.format("100", ""))
    assert after == {**table(now), "amos_0001": before["amos_0001"]}
    assert [sample for sample in MASKED if after[sample] == before[sample]] == ["amos_0001"]


def test_a_part_cannot_get_another_label_map(place: Place, tmp_path: Path) -> None:
    other = write_label_map(tmp_path / "other.yaml", {1: "milt"})
    before = snapshot(place.root)
    said = place.run("--ids", "1", "--label_explanation", other, "--quiet", exit_code=1)
    assert len(said.stderr.strip().splitlines()) == 1
    assert "label_map.yaml" in said.stderr
    assert said.stdout == ""
    assert snapshot(place.root) == before


def test_a_part_may_name_the_same_label_map(place: Place, made: Path, tmp_path: Path) -> None:
    same = write_label_map(tmp_path / "same.yaml", {})
    place.run("--ids", "1", "--label_explanation", same, "--quiet")
    assert_same(contents(made), contents(place.root))


def test_a_full_run_with_another_label_map_replaces_the_old_one(
    place: Place, tmp_path: Path
) -> None:
    other = write_label_map(tmp_path / "other.yaml", {1: "milt"})
    place.run("--label_explanation", other, "--quiet")
    kept = place.descriptor / "label_map.yaml"
    assert kept.read_text(encoding="utf-8") == other.read_text(encoding="utf-8")
    assert list(place.grouped.rglob("*spleen*")) == []
    assert len(list(place.grouped.rglob("*_mask_01_milt.nii.gz"))) == len(MASKED)
    assert "mask_01_milt" in place.dataset()["amos_0001"]
    place.run("--ids", "1", "--quiet")  # with the map kept in ROOT
    assert "mask_01_milt" in place.dataset()["amos_0001"]


def test_a_good_part_beside_earlier_failures_is_not_called_a_success(empty: Place) -> None:
    (empty.archive / MASK_4).write_bytes(b"no gzip")
    empty.run("--quiet", exit_code=3)
    said = empty.run("--ids", "1", "--quiet", exit_code=3).stdout.splitlines()[-3:]
    assert said[0].startswith("1 of 1 sample complete")
    assert said[1] == "1 sample complete before; --force does them again."
    assert "of earlier runs" in said[2]
    assert said[2].startswith("1 sample")


def test_region_manifests_of_earlier_thresholds_are_refreshed(place: Place, tmp_path: Path) -> None:
    both = ("--region_volume_thresh", "100", "--region_volume_thresh", "300")
    place.run(*both, "--quiet")
    place.run("--quiet", how=DENOISE_OTHERWISE)
    refreshed = contents(place.root)
    assert f"descriptor/{REGIONS.format('300', AFTER)}" in refreshed
    shutil.rmtree(place.root)
    place.run(*both, "--quiet", how=DENOISE_OTHERWISE)
    assert_same(contents(place.root), refreshed)


def test_a_users_worksheet_survives_a_run(place: Place) -> None:
    path = place.grouped / "dataset_manifest.xlsx"
    workbook = load_workbook(path)
    workbook.create_sheet("Notes").append(["mine"])
    workbook.save(path)
    place.run("--quiet")
    workbook = load_workbook(path)
    assert workbook.sheetnames == ["Manifest", "split01_standard", "Columns", "Notes"]
    assert workbook["Notes"]["A1"].value == "mine"


@pytest.mark.parametrize(
    "name", ["descriptor/archive_manifest.xlsx", "grouped/dataset_manifest.xlsx"]
)
def test_a_manifest_that_is_open_elsewhere_is_said_and_written_by_the_next_run(
    empty: Place, made: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:  # as a share does while Excel has the file
        if Path(target) == empty.root / name:
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        empty.run("--quiet", exit_code=3)
    assert errors(empty.root) == {("", "workbook_locked")}
    (found,) = [issue for issue in issues(empty.root) if issue["severity"] == "error"]
    assert found["file"] == name
    there = contents(empty.root).keys()
    assert {*there, name} == contents(made).keys()  # everything else was done
    assert list(empty.root.rglob("*~")) == []
    empty.run("--quiet")
    assert_same(contents(made), contents(empty.root))


def test_a_run_mends_the_error_of_a_manifest_of_a_subset(place: Place) -> None:
    (sample_dir(place.grouped, "0001") / "amos_0001_volume.nii.gz").unlink()
    below = place.grouped / "AMOS-CT" / "train"
    output = ("--output_manifest_file", below / "dataset_manifest.xlsx")
    place.command("dataset-manifest", "--root_dir", below, *output, exit_code=3)
    assert {sample for sample, _ in errors(place.root)} == {"amos_0001"}
    place.run("--quiet")
    assert errors(place.root) == set()


# ---------------------------------------------------------------- leftovers


def test_leftovers_are_gone_after_a_run(place: Place) -> None:
    written_to = {path.parent for path in place.root.rglob("*") if path.is_file()}
    assert {place.descriptor, place.grouped, place.root / ".amos-dask/restore"} < written_to
    journal = Journal(Layout(place.root), "amos_0004")
    for folder in written_to:
        half = folder / ".amos_0004_volume.nii.gz.0123abcd.part~"
        journal.add_temporaries([half])
        half.write_bytes(b"half")
    place.run("--quiet")
    assert list(place.root.rglob("*.part~")) == []


def test_what_a_killed_run_left_of_a_sample_is_gone(empty: Place) -> None:
    parent = empty.grouped / "AMOS-CT" / "train" / "Brilliance16"
    journal = Journal(Layout(empty.root), "amos_0004")
    for name in ("amos_0004_F", "amos_0004_M"):  # M by the csv as it is now
        (parent / name).mkdir(parents=True)
        half = parent / name / ".amos_0004_volume.nii.gz.0123abcd.part~"
        journal.add_temporaries([half])
        half.write_bytes(b"half")
    empty.run("--quiet")
    assert list(empty.root.rglob("*.part~")) == []
    assert empty_folders(empty.root) == []


# ---------------------------------------------------------------- the archive is never written to


@pytest.mark.parametrize("below", [".", "out", "out/AMOS22"])
def test_a_root_inside_the_archive_is_refused(empty: Place, below: str) -> None:
    before = snapshot(empty.archive)
    empty.root = empty.archive / below
    said = empty.run("--quiet", exit_code=1)
    assert len(said.stderr.strip().splitlines()) == 1
    assert snapshot(empty.archive) == before
    assert not (empty.archive / "out").exists()


def test_a_link_into_the_archive_is_refused(empty: Place) -> None:
    before = snapshot(empty.archive)
    empty.root.symlink_to(empty.archive, target_is_directory=True)
    empty.run("--quiet", exit_code=1)
    assert snapshot(empty.archive) == before


def test_outputs_of_single_commands_inside_the_archive_are_refused(
    place: Place, tmp_path: Path
) -> None:
    before = snapshot(place.archive), snapshot(place.root)
    read = ("--root_dir", place.archive)
    output = place.archive / "descriptor" / "archive_manifest.xlsx"
    place.command("archive-manifest", *read, "--output_manifest_file", output, exit_code=1)
    words = ("confirm-pairs", "--modality", "ct", *read, "--output_dir", place.archive / "grouped")
    manifest = place.descriptor / "archive_manifest.xlsx"
    place.command(*words, "--archive_manifest", manifest, exit_code=1)
    assert (snapshot(place.archive), snapshot(place.root)) == before
    assert not (place.archive / "grouped").exists()


# ---------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1"])
@pytest.mark.parametrize("option", ["--region_volume_thresh", "--region_area_thresh"])
def test_impossible_thresholds_write_nothing(empty: Place, option: str, value: str) -> None:
    words = ("run", empty.root, "--archive", empty.archive, f"{option}={value}", "--quiet")
    assert CliRunner().invoke(main, [str(word) for word in words]).exit_code in (1, 2)
    assert not empty.root.exists()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_impossible_thresholds_of_single_commands_change_nothing(place: Place, value: str) -> None:
    before = snapshot(place.root)
    work = ("--root_dir", place.grouped)
    output = ("--output_manifest", place.descriptor / "odd.xlsx")
    regions = ("small-regions", *work, *output, "--region_volume_thresh", value)
    denoise = ("denoise", *work, "--output_dir", place.grouped, "--region_area_thresh", value)
    place.command(*regions, exit_code=1)
    place.command(*denoise, exit_code=1)
    assert snapshot(place.root) == before


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize("blocked", ["grouped/AMOS-CT/train", ".amos-dask/restore"])
def test_the_message_of_a_failed_sample_names_no_path(empty: Place, blocked: str) -> None:
    (empty.root / blocked).parent.mkdir(parents=True)
    (empty.root / blocked).write_text("in the way")
    empty.run("--quiet", exit_code=3)
    messages = [issue["message"] for issue in issues(empty.root) if issue["severity"] == "error"]
    assert messages
    for message in messages:
        assert not any(text in message for text in ("/", "part~", "0x", "127.0.0.1"))


def test_the_rows_of_mr_scans_are_said_once(tmp_path: Path, cluster_address: str) -> None:
    made = amos_dask.write_archive(tmp_path, n_ct=0, n_mri=2, size="tiny", seed=7)
    made.path.rename(tmp_path / "archive")
    said = Place(tmp_path, cluster_address).run()
    assert said.stderr.count("MR scan N takes row") == 1
    assert "MR scan N takes row" not in said.stdout


# ---------------------------------------------------------------- odd names in and around archives


def test_a_name_that_is_not_utf8_stops_nothing(place: Place, made: Path) -> None:
    name = os.fsencode(place.archive) + b"/imagesTr/caf\xe9.txt"
    with open(name, "wb") as file:  # noqa: PTH123  (Path takes no bytes)
        file.write(b"?")
    place.run("--quiet")
    assert_same(contents(made, "grouped"), contents(place.root, "grouped"))
    assert [i["file"] for i in issues(place.root) if i["code"] == "unexpected_file"] == [
        "imagesTr/caf\ufffd.txt"
    ]


def test_an_empty_archive_folder_does_not_hide_the_zip(
    source: Path, root: Path, made: Path, cluster_address: str
) -> None:
    (root / "archive").mkdir(parents=True)
    shutil.make_archive(str(root / "amos22"), "zip", source)
    assert str(root / "amos22.zip") in program("run", root, "--dry_run").stdout
    program("run", root, *DENOISE, "--cluster", cluster_address, "--quiet", *BARE)
    assert_same(contents(made, "grouped"), contents(root, "grouped"))


def test_a_root_that_holds_the_zip_stands_for_it(root: Path) -> None:
    amos_dask.write_archive(root, n_ct=1, n_mri=0, size="tiny", seed=7, form="zip")
    said = program("run", root, "--archive", root, "--dry_run").stdout
    assert str(root / "amos22.zip") in said
    assert list(amos_dask.plan_run(root, root).samples["ID"]) == ["amos_0001"]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_the_official_csv_is_taken_before_a_second_download(
    source: Path, tmp_path: Path, cluster_address: str, form: str
) -> None:
    archive = amos_dask.write_archive(tmp_path, n_ct=1, n_mri=1, size="tiny", seed=7, form=form)
    stem, suffix = os.path.splitext(METADATA_NAME)  # noqa: PTH122
    again = archive.metadata_path.with_name(f"{stem} (1){suffix}")
    shutil.copy(archive.metadata_path, again)
    change_sex(again, 1, "wrong")
    output = tmp_path / "R" / "descriptor" / "archive_manifest.xlsx"
    words = ("archive-manifest", "--root_dir", archive.path, "--output_manifest_file", output)
    program(*words, "--cluster", cluster_address, "--quiet")
    rows = pd.read_excel(output, dtype=str)
    assert set(rows.loc[rows["seq"] == "0001", "sex"]) == {"F"}


def test_runs_of_this_module_denoise_something(made: Path, source: Path) -> None:
    mask = sample_dir(made, "0004") / "amos_0004_mask.nii.gz"
    assert (voxels(mask) != voxels(source / MASK_4)).any()
