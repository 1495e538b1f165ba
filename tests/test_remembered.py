"""What ROOT_DIR remembers of its last run, and what is said of what changes."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nibabel as nib
import pytest
from roots import (
    BARE,
    change_sex,
    ct_archive,
    issues,
    program,
    put_back,
    sample_dir,
    snapshot,
    table,
    voxels,
)

import amos_dask
from amos_dask.phantom import METADATA_NAME

DENOISE = ("--region_area_thresh", "100")
GO_ON = "4 samples complete before"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes, with its csv inside."""
    return ct_archive(tmp_path_factory.mktemp("source"), 4)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a copy of an archive and ROOT_DIR after a run, which was in a folder beside it."""
    work = tmp_path_factory.mktemp("made") / "work"
    shutil.copytree(source, work / "amos22")
    Place(work, cluster_address).run("--archive", work / "amos22", *DENOISE, "--quiet")
    return Path(shutil.copytree(work, work.with_name("kept")))


class Place:
    """A folder with an archive ``amos22`` and ROOT_DIR ``AMOS22`` that a test may change."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self.folder, self.root, self.archive = folder, folder / "AMOS22", folder / "amos22"
        self._cluster = ("--cluster", cluster)

    def run(self, *words: str | Path, exit_code: int = 0) -> str:
        """Run, and return what was said in one line."""
        done = program("run", self.root, *words, *self._cluster, *BARE, exit_code=exit_code)
        return " ".join(done.output.split())

    def command(self, *words: str | Path, exit_code: int = 0) -> str:
        """Run another command, and return what was said in one line."""
        done = program(*words, *self._cluster, exit_code=exit_code)
        return " ".join(done.output.split())

    def remembered(self) -> dict[str, object]:
        """Return what is remembered."""
        text = (self.root / ".amos-dask" / "remembered.json").read_text(encoding="utf-8")
        return dict(json.loads(text))

    def dataset(self) -> dict[str, dict[str, object]]:
        """Return the dataset manifest's rows."""
        return table(self.root / "grouped" / "dataset_manifest.xlsx")


@pytest.fixture
def place(made: Path, cluster_address: str) -> Place:
    """Return a place after a good run; the archive remembered is the one in it."""
    place = Place(put_back(made, made.with_name("work")), cluster_address)
    assert place.remembered()["archive"] == str(place.archive)
    return place


def other_archive(folder: Path, seed: int = 8) -> Path:
    """Return an archive with the names of the first and other scans."""
    return ct_archive(folder, 4, seed)


def pack(archive: Path, zip_file: Path, n_left_out: int = 0) -> Path:
    """Pack an archive as the download is packed."""
    with zipfile.ZipFile(zip_file, "w") as file:
        for path in sorted(p for p in archive.rglob("*") if p.is_file())[n_left_out:]:
            file.write(path, f"amos22/{path.relative_to(archive)}")
    return zip_file


# ---------------------------------------------------------------- the archive


def test_a_rerun_without_options_goes_on(place: Place) -> None:
    place.run("--archive", place.archive)
    before = snapshot(place.root)
    assert GO_ON in place.run()
    assert snapshot(place.root) == before


def test_a_run_without_options_plans_nothing(place: Place) -> None:
    plan = amos_dask.plan_run(place.root)
    assert set(plan.samples["reason"]) == {"complete"}
    assert (plan.archive, plan.changes) == (str(place.archive), "")


def test_a_relative_archive_is_found_from_elsewhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    place.run("--archive", os.path.relpath(place.archive))
    monkeypatch.chdir(place.root)
    assert GO_ON in place.run()


@pytest.mark.parametrize("inside", ["archive", "downloads/amos22"])
def test_a_root_that_is_moved_with_its_archive_goes_on(place: Place, inside: str) -> None:
    (place.root / inside).parent.mkdir(exist_ok=True)
    place.archive = place.archive.rename(place.root / inside)
    place.run("--archive", place.archive)
    assert place.remembered()["archive"] == inside
    place.root = place.root.rename(place.folder / "elsewhere")
    assert GO_ON in place.run()


def test_another_archive_is_refused_and_nothing_written(place: Place) -> None:
    other = other_archive(place.folder / "other")
    before = snapshot(place.root)
    said = place.run("--archive", other, exit_code=1)
    assert "--switch_archive" in said
    assert str(other) in said
    assert said.count(". ") == 0
    assert snapshot(place.root) == before
    place.run("--archive", other, "--dry_run", exit_code=1)


def test_another_archive_is_gone_on_with_when_asked_for(place: Place) -> None:
    other = other_archive(place.folder / "other")
    said = place.run("--archive", other, "--switch_archive")
    assert f"archive {place.archive} -> {other}: 4 samples are made anew" in said
    assert GO_ON in place.run()


def test_the_csv_of_one_archive_is_not_taken_for_another(place: Place) -> None:
    csv = place.folder / "m.csv"
    (place.archive / METADATA_NAME).rename(csv)
    place.run("--labeled_data_meta", csv)
    other = other_archive(place.folder / "other")
    own = other / METADATA_NAME
    away = own.rename(place.folder / "away.csv")
    said = place.run("--archive", other, "--switch_archive", exit_code=1)
    assert "--labeled_data_meta" in said
    away.rename(own)
    said = place.run("--archive", other, "--switch_archive")
    assert f"labeled_data_meta {csv} -> the archive's own" in said


def test_other_scans_in_the_same_place_are_refused(place: Place) -> None:
    shutil.rmtree(place.archive)
    other_archive(place.folder / "other").rename(place.archive)
    assert "--switch_archive" in place.run(exit_code=1)


def test_an_archive_without_any_of_the_files_is_refused(place: Place) -> None:
    other = ct_archive(place.folder / "b", 1)
    for path in sorted(other.rglob("amos_0001*")):
        path.rename(path.with_name(path.name.replace("0001", "0399")))
    said = place.run("--archive", other, exit_code=1)
    assert "none of the files" in said
    assert "--switch_archive" in said


def test_one_file_that_was_corrected_is_gone_on_with(place: Place) -> None:
    mask = place.archive / "labelsTr" / "amos_0001.nii.gz"
    nib.save(nib.Nifti1Image(voxels(mask) * 0, nib.load(mask).affine), mask)
    assert "1 changed" in place.run("--archive", place.archive)


def test_files_that_failed_before_may_all_be_others(
    source: Path, tmp_path: Path, cluster_address: str
) -> None:
    """As after a download that was mended."""
    place = Place(tmp_path, cluster_address)
    shutil.copytree(source, place.archive)
    volumes = sorted((place.archive / "imagesTr").glob("*.nii.gz"))
    for path in volumes:
        path.write_bytes(path.read_bytes()[:1000])
    place.run("--archive", place.archive, exit_code=3)
    shutil.copytree(source, place.archive, dirs_exist_ok=True)
    place.run("--archive", place.archive)


def test_the_same_scans_unpacked_are_the_same_archive(place: Place) -> None:
    place.run("--archive", pack(place.archive, place.folder / "amos22.zip"))
    place.run("--archive", place.archive)


@pytest.mark.parametrize("form", ["archive", "amos22.zip"])
def test_where_the_archive_is_gone_the_one_in_root_is_taken(place: Place, form: str) -> None:
    if form == "archive":
        place.archive.rename(place.root / form)
    else:
        pack(place.archive, place.root / form)
        shutil.rmtree(place.archive)
    place.run()
    assert place.remembered()["archive"] == form


def test_an_archive_in_root_of_other_scans_is_refused(place: Place) -> None:
    shutil.rmtree(place.archive)
    place.archive.mkdir()  # as a mount point that nothing is mounted on
    other_archive(place.folder / "other").rename(place.root / "archive")
    assert "--switch_archive" in place.run(exit_code=1)


def test_an_archive_that_is_nowhere_is_said(place: Place) -> None:
    shutil.rmtree(place.archive)
    before = snapshot(place.root)
    said = place.run(exit_code=1)
    assert "--archive" in said
    assert str(place.archive) in said
    assert "verify" in said
    assert snapshot(place.root) == before
    place.command("stats", place.root)


def test_a_half_unpacked_folder_beside_the_remembered_zip_changes_nothing(place: Place) -> None:
    pack(place.archive, place.root / "amos22.zip")
    place.run("--archive", place.root / "amos22.zip")
    place.archive.rename(place.root / "archive")
    shutil.rmtree(place.root / "archive" / "labelsTr")
    before = snapshot(place.root)
    assert GO_ON in place.run()
    assert snapshot(place.root) == before


def test_a_half_unpacked_folder_beside_a_zip_is_refused(place: Place) -> None:
    """Also where nothing is remembered, as of an earlier version."""
    pack(place.archive, place.root / "amos22.zip")
    place.archive.rename(place.root / "archive")
    whole = shutil.copytree(place.root / "archive", place.folder / "whole")
    (place.root / ".amos-dask" / "remembered.json").unlink()
    shutil.rmtree(place.root / "archive" / "labelsTr")
    before = snapshot(place.root / "grouped")
    said = place.run(exit_code=1)
    assert "amos22.zip" in said
    assert "--archive" in said
    assert snapshot(place.root / "grouped") == before
    shutil.rmtree(place.root / "archive")
    whole.rename(place.root / "archive")
    assert GO_ON in place.run(*DENOISE)
    assert place.remembered()["archive"] == "archive"


def test_an_archive_at_a_url_is_gone_on_with(place: Place) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=place.folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/amos22"
        place.run("--archive", url)
        assert place.remembered()["archive"] == url
        assert amos_dask.plan_run(place.root).archive == url
        server.shutdown()
    said = place.run(exit_code=1)
    assert url in said
    assert "--archive" in said


def test_a_root_of_an_earlier_version_learns_the_archive(place: Place) -> None:
    path = place.root / ".amos-dask" / "remembered.json"
    path.unlink()
    other = other_archive(place.folder / "other")
    assert "--switch_archive" in place.run("--archive", other, exit_code=1)
    assert not path.exists()
    assert GO_ON in place.run("--archive", place.archive, *DENOISE)
    assert GO_ON in place.run()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"archive": 3}', '{"denoise": {"x": 1}}'])
def test_a_memory_that_cannot_be_understood_is_none(place: Place, content: str) -> None:
    (place.root / ".amos-dask" / "remembered.json").write_text(content, encoding="utf-8")
    place.run(exit_code=1)
    assert GO_ON in place.run("--archive", place.archive, *DENOISE)
    assert GO_ON in place.run()


# ---------------------------------------------------------------- the csv and its offset


def test_a_csv_that_was_named_is_gone_on_with(place: Place) -> None:
    csv = place.folder / "metadata" / "m.csv"
    csv.parent.mkdir()
    (place.archive / METADATA_NAME).rename(csv)
    place.run("--labeled_data_meta", csv)
    folders = sorted(place.dataset())
    assert GO_ON in place.run("--archive", place.archive)
    assert sorted(place.dataset()) == folders
    assert sample_dir(place.root, "0004").parent.name != "UND"


def test_single_commands_go_on_with_the_csv(place: Place) -> None:
    csv = place.root / "m.csv"
    (place.archive / METADATA_NAME).rename(csv)
    place.run("--labeled_data_meta", csv)
    manifest = place.root / "descriptor" / "archive_manifest.xlsx"
    words = ("--root_dir", place.archive, "--output_manifest_file", manifest)
    place.command("archive-manifest", *words)
    assert not [issue for issue in issues(place.root) if issue["code"] == "metadata_missing"]


@pytest.mark.parametrize("is_named", [True, False])
def test_a_csv_that_is_gone_is_not_gone_on_without(place: Place, is_named: bool) -> None:
    csv = place.archive / METADATA_NAME
    if is_named:
        csv = csv.rename(place.folder / "m.csv")
        place.run("--labeled_data_meta", csv)
    csv.unlink()
    before = snapshot(place.root)
    said = place.run(exit_code=1)
    assert "--without_metadata" in said
    assert "--labeled_data_meta" in said
    assert snapshot(place.root) == before
    place.run("--without_metadata")
    assert sample_dir(place.root, "0004").parent.name == "UND"
    assert GO_ON in place.run()


def test_the_offset_that_was_asked_for_is_gone_on_with(place: Place) -> None:
    assert "mr_metadata_offset auto -> 0" in place.run("--mr_metadata_offset", "0")
    assert GO_ON in place.run()
    assert "mr_metadata_offset 0 -> auto" in place.run("--mr_metadata_offset", "auto")


def test_what_was_said_of_a_csv_is_gone_on_with_until_another_is_named(place: Place) -> None:
    place.run("--mr_metadata_offset", "-1", "--metadata_encoding", "utf-8")
    assert GO_ON in place.run()
    assert place.remembered()["metadata_encoding"] == "utf-8"
    csv = shutil.copy(place.archive / METADATA_NAME, place.folder / "m.csv")
    said = place.run("--labeled_data_meta", csv, "--dry_run")
    assert "metadata_encoding utf-8 -> recognised, mr_metadata_offset -1 -> auto" in said


def test_a_csv_that_was_corrected_is_no_other_choice(place: Place) -> None:
    change_sex(place.archive / METADATA_NAME, 4, "M")
    assert "made anew" not in place.run()


# ---------------------------------------------------------------- parameters


def test_parameters_of_denoising_are_gone_on_with(place: Place) -> None:
    n_masks = sum(row["mask"] is not None for row in place.dataset().values())
    anew = f"the masks of {n_masks} samples are made anew"
    plan = amos_dask.plan_run(place.root, kernel_size=(7, 7))
    assert plan.changes == f"kernel_size 5 5 -> 7 7: {anew}"
    said = place.run("--kernel_size", "7", "7", "--filter_halfedge", "2")
    assert f"kernel_size 5 5 -> 7 7, filter_halfedge 3 -> 2: {anew}" in said
    assert GO_ON in place.run()
    told = place.remembered()["denoise"]
    assert told == {"kernel_size": [7, 7], "filter_halfedge": 2, "region_area_thresh": 100.0}


def test_denoising_as_before_is_what_the_single_command_does(place: Place) -> None:
    place.run("--kernel_size", "3", "3")
    grouped = place.root / "grouped"
    said = place.command("denoise", "--root_dir", grouped, "--output_dir", grouped)
    assert "0 voxels changed in 0 masks" in said


def test_other_exclusions_are_said(place: Place) -> None:
    exclude = place.folder / "exclude.csv"
    exclude.write_text("sample,label\namos_0004,\n", encoding="utf-8")
    said = place.run("--exclude", exclude)
    assert "other exclusions from denoising: the masks of 1 sample are made anew" in said
    assert GO_ON in place.run()
