"""The tutorial's commands one by one: run twice, on changed folders, on edited workbooks."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from openpyxl import load_workbook
from roots import (
    assert_same,
    contents,
    ct_archive,
    errors,
    issues,
    program,
    sample_dir,
    snapshot,
    table,
    truncate,
    voxels,
)

import amos_dask
from amos_dask.datasets import AMOS22
from amos_dask.labels import LabelMap
from amos_dask.params import DenoiseParams
from amos_dask.steps.denoise import denoising_mark, is_denoised

DENOISE = ("--region_area_thresh", "100")  # seen on 16x14 slices
DENOISE_OTHERWISE = ("--region_area_thresh", "40")
SPLIT = "split01_standard"
MASK_4 = "labelsVa/amos_0004.nii.gz"
VOLUME_4 = "imagesVa/amos_0004.nii.gz"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes: 1 (F), 4 (M) and, without a mask, 500."""
    return ct_archive(tmp_path_factory.mktemp("source"), 3, has_val=True)


@pytest.fixture(scope="module")
def paired(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR after 01 and 02 (CT) that no test changes."""
    place = Place(tmp_path_factory.mktemp("paired"), cluster_address, source)
    place.archive_manifest()
    place.confirm_pairs()
    return place.root


@pytest.fixture(scope="module")
def made(paired: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR after 01 (CT) to 06 that no test changes."""
    place = Place(tmp_path_factory.mktemp("made"), cluster_address, paired)
    shutil.copytree(paired, place.root)
    place.split()
    place.binary_masks()
    place.denoise()
    place.dataset_manifest()
    program("make-split", "--manifest_file", place.manifest, "--split_name", SPLIT)
    return place.root


class Place:
    """A ROOT_DIR that a test may change, and the commands on it.

    Parameters
    ----------
    folder : Path
        Where it is.
    cluster : str
        Address of the cluster.
    archive : Path
        What the first two commands read.
    """

    def __init__(self, folder: Path, cluster: str, archive: Path) -> None:
        self.folder = folder
        self.root = folder / "AMOS22"
        self.archive = archive
        self.grouped = self.root / "grouped"
        self.descriptor = self.root / "descriptor"
        self.manifest = self.grouped / "dataset_manifest.xlsx"
        self._cluster = cluster

    def command(self, *words: str | Path, exit_code: int = 0) -> Result:
        """Run a command on the cluster."""
        return program(*words, "--cluster", self._cluster, exit_code=exit_code)

    def archive_manifest(self, *words: str | Path, exit_code: int = 0) -> Result:
        """01."""
        output = self.descriptor / "archive_manifest.xlsx"
        where = ("--root_dir", self.archive, "--output_manifest_file", output)
        return self.command("archive-manifest", *where, *words, exit_code=exit_code)

    def confirm_pairs(self, exit_code: int = 0) -> Result:
        """02, CT only."""
        where = ("--root_dir", self.archive, "--output_dir", self.grouped / "AMOS-CT")
        manifest = ("--archive_manifest", self.descriptor / "archive_manifest.xlsx")
        words = ("confirm-pairs", "--modality", "ct", *where, *manifest)
        return self.command(*words, exit_code=exit_code)

    def split(self, exit_code: int = 0) -> Result:
        """03."""
        words = ("split-prostate-uterus", "--root_dir", self.grouped)
        return self.command(*words, exit_code=exit_code)

    def binary_masks(self, *words: str | Path, exit_code: int = 0) -> Result:
        """04."""
        where = ("--root_dir", self.grouped)
        return self.command("binary-masks", *where, *words, exit_code=exit_code)

    def small_regions(self, *words: str | Path, exit_code: int = 0) -> Result:
        """List regions below 100 mm3."""
        output = self.descriptor / "small_connected_region_100_manifest.xlsx"
        where = ("--root_dir", self.grouped, "--output_manifest", output)
        words = (*where, "--region_volume_thresh", "100", *words)
        return self.command("small-regions", *words, exit_code=exit_code)

    def denoise(self, *words: str | Path, exit_code: int = 0) -> Result:
        """Denoise in place, the usual way unless told otherwise."""
        where = ("--root_dir", self.grouped, "--output_dir", self.grouped)
        return self.command("denoise", *where, *DENOISE, *words, exit_code=exit_code)

    def dataset_manifest(self, *words: str | Path, exit_code: int = 0) -> Result:
        """05."""
        where = ("--root_dir", self.grouped, "--output_manifest_file", self.manifest)
        return self.command("dataset-manifest", *where, *words, exit_code=exit_code)

    def sample(self, seq: str) -> Path:
        """Return a sample's folder."""
        return sample_dir(self.grouped, seq)

    def mask(self, seq: str, label: str = "") -> Path:
        """Return a sample's mask, or the binary one of a label."""
        return self.sample(seq) / f"amos_{seq}_mask{label}.nii.gz"


@pytest.fixture
def empty(source: Path, tmp_path: Path, cluster_address: str) -> Place:
    """Return a place with nothing yet and an archive that must not be changed."""
    return Place(tmp_path, cluster_address, source)


@pytest.fixture
def organised(paired: Path, empty: Place) -> Place:
    """Return a place after 01 and 02."""
    shutil.copytree(paired, empty.root)
    return empty


@pytest.fixture
def place(made: Path, empty: Place) -> Place:
    """Return a place after 01 to 06."""
    shutil.copytree(made, empty.root)
    return empty


@pytest.fixture
def changeable(source: Path, empty: Place) -> Place:
    """Return a place with nothing yet and an archive that may be changed."""
    empty.archive = empty.folder / "amos22"
    shutil.copytree(source, empty.archive)
    return empty


def write_label_map(path: Path, names: dict[int, str], without: tuple[int, ...] = ()) -> Path:
    """Write AMOS22's label map with some names changed and some labels left out."""
    entries = (AMOS22.label_map.names() | names).items()
    label_map = LabelMap(tuple(entry for entry in entries if entry[0] not in without))
    path.write_text(label_map.to_yaml(), encoding="utf-8")
    return path


# ---------------------------------------------------------------- twice


def tutorial() -> list[list[str]]:
    """Return the commands for CT in the folder of ROOT_DIR, with relative paths."""
    work, out = ["--root_dir", "grouped"], ["--output_dir", "grouped"]
    listed = ["--archive_manifest", "descriptor/archive_manifest.xlsx"]
    names = ["--manifest_file", "grouped/dataset_manifest.xlsx", "--split_name", SPLIT]
    regions = ["--region_volume_thresh", "100", "--output_manifest", "descriptor/regions.xlsx"]
    index = ["--output_index_manifest_dir", f"grouped/splits/{SPLIT}", "--subsets", "train", "val"]
    pairs = ["--root_dir", "archive", "--output_dir", "grouped/AMOS-CT", *listed]
    return [
        ["archive-manifest", "--root_dir", "archive", "--output_manifest_file", listed[1]],
        ["confirm-pairs", "--modality", "ct", *pairs],
        ["split-prostate-uterus", *work],
        ["binary-masks", *work, "--label_explanation", "descriptor/label_map.yaml"],
        ["small-regions", *work, *regions],
        ["denoise", *work, *out, *DENOISE],
        ["dataset-manifest", *work, "--output_manifest_file", names[1]],
        ["make-split", *names],
        ["index-manifests", *names, *index],
    ]


def test_every_command_twice_with_relative_paths_keeps_all_files(
    empty: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(empty.archive, empty.root / "archive")
    monkeypatch.chdir(empty.root)
    for words in tutorial():
        run = program if words[0] in ("make-split", "index-manifests") else empty.command
        run(*words)
        first = contents(empty.root)
        run(*words)
        assert_same(first, contents(empty.root))
    assert len(list(empty.grouped.rglob("*_mask_*.nii.gz"))) == 2 * 17


# ---------------------------------------------------------------- 01 and 02


def test_the_first_command_writes_the_label_map_that_the_tutorial_names(empty: Place) -> None:
    empty.archive_manifest()
    label_map = empty.descriptor / "label_map.yaml"
    assert label_map.read_text(encoding="utf-8") == AMOS22.label_map.to_yaml()
    label_map.unlink()
    empty.confirm_pairs()
    assert label_map.read_text(encoding="utf-8") == AMOS22.label_map.to_yaml()
    empty.binary_masks("--label_explanation", label_map)


def test_a_label_map_that_is_there_is_kept(organised: Place) -> None:
    own = write_label_map(organised.descriptor / "label_map.yaml", {1: "milt"})
    text = own.read_text(encoding="utf-8")
    organised.archive_manifest()
    organised.confirm_pairs()
    assert own.read_text(encoding="utf-8") == text


def test_issues_go_to_the_outputs_root_not_beside_the_archive(changeable: Place) -> None:
    foreign = changeable.folder / "foreign"
    (foreign / "descriptor").mkdir(parents=True)
    changeable.archive = changeable.archive.rename(foreign / "archive")
    before = snapshot(foreign)
    changeable.archive_manifest()
    changeable.confirm_pairs()
    assert snapshot(foreign) == before
    assert sorted(path.name for path in foreign.iterdir()) == ["archive", "descriptor"]
    assert (changeable.descriptor / "issues.jsonl").is_file()
    assert (changeable.root / ".amos-dask").is_dir()


@pytest.mark.parametrize("listed", ["descriptor/archive_manifest.xlsx", "listed.xlsx"])
def test_a_url_makes_no_folder_of_its_name(
    empty: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = snapshot(empty.archive.parent)
    url = empty.archive.as_uri()
    output = ("--output_manifest_file", f"AMOS22/{listed}")
    empty.command("archive-manifest", "--root_dir", url, *output)
    manifest = ("--archive_manifest", output[1])
    words = ("confirm-pairs", "--modality", "ct", "--root_dir", url)
    empty.command(*words, "--output_dir", "AMOS22/grouped/AMOS-CT", *manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["AMOS22"]
    assert snapshot(empty.archive.parent) == before
    assert (empty.descriptor / "issues.jsonl").is_file()


def test_a_mask_without_volume_is_an_error_of_both_commands(changeable: Place) -> None:
    (changeable.archive / VOLUME_4).unlink()
    changeable.archive_manifest(exit_code=3)
    assert errors(changeable.root) == {("amos_0004", "mask_without_volume")}
    said = changeable.confirm_pairs(exit_code=3)
    assert "mask_without_volume" in said.stdout
    assert "2 of 3 ct samples written" in said.stdout


def test_a_blank_row_at_the_end_of_the_archive_manifest_is_ignored(empty: Place) -> None:
    empty.archive_manifest()
    path = empty.descriptor / "archive_manifest.xlsx"
    workbook = load_workbook(path)
    sheet = workbook["Manifest"]
    last = sheet.max_row
    for column in range(1, sheet.max_column + 1):
        sheet.cell(last + 2, column).number_format = "@"
    workbook.save(path)
    assert load_workbook(path)["Manifest"].max_row == last + 2
    assert "3 of 3 ct samples written" in empty.confirm_pairs().stdout


@pytest.mark.parametrize("title", ["a/b", "x" * 40, ""])
def test_an_impossible_worksheet_title_writes_nothing(empty: Place, title: str) -> None:
    said = empty.archive_manifest("--sheet_name", title, exit_code=1)
    assert len(said.stderr.strip().splitlines()) == 1
    assert not empty.root.exists()


def test_the_rows_of_mr_scans_are_said_once(empty: Place, tmp_path: Path) -> None:
    made = amos_dask.write_archive(tmp_path / "mr", n_ct=1, n_mri=1, size="tiny", seed=7)
    empty.archive = made.path
    assert empty.archive_manifest().stderr.count("MR scan N takes row") == 1


# ---------------------------------------------------------------- 03 after the others


def test_binary_masks_follow_a_late_split(organised: Place) -> None:
    organised.binary_masks()
    assert voxels(organised.mask("0001", "_15_prostate")).any()
    organised.split()
    mask = voxels(organised.mask("0001"))
    assert 16 in mask
    assert not voxels(organised.mask("0001", "_15_prostate")).any()
    np.testing.assert_array_equal(voxels(organised.mask("0001", "_16_uterus")), mask == 16)
    assert voxels(organised.mask("0004", "_15_prostate")).any()
    organised.dataset_manifest()
    row = table(organised.manifest)["amos_0001"]
    assert (row["mask_15_prostate_existence"], row["mask_16_uterus_existence"]) == (0, 1)
    assert row["valid_labels"].endswith(",16")


def test_a_late_split_can_be_denoised_otherwise(organised: Place, paired: Path) -> None:
    organised.denoise()
    organised.split()
    organised.denoise(*DENOISE_OTHERWISE)
    late = snapshot(organised.sample("0001"))
    shutil.rmtree(organised.root)
    shutil.copytree(paired, organised.root)
    organised.split()
    organised.denoise(*DENOISE_OTHERWISE)
    assert snapshot(organised.sample("0001")) == late


# ---------------------------------------------------------------- 04 and denoise, other label map


@pytest.mark.parametrize("denoised", [(), DENOISE_OTHERWISE])
def test_denoise_with_another_label_map_leaves_no_stale_binary_masks(
    place: Place, tmp_path: Path, denoised: tuple[str, ...]
) -> None:
    other = write_label_map(tmp_path / "other.yaml", {1: "milt"})
    place.denoise(*denoised, "--label_explanation", other)
    assert_binary_masks_of(place, other)


def test_binary_masks_with_another_label_map_leave_no_stale_ones(
    place: Place, tmp_path: Path
) -> None:
    other = write_label_map(tmp_path / "other.yaml", {1: "milt"})
    place.binary_masks("--label_explanation", other)
    assert_binary_masks_of(place, other)


def assert_binary_masks_of(place: Place, label_map: Path) -> None:
    """Fail unless the binary masks are exactly those of a label map."""
    assert list(place.grouped.rglob("*spleen*")) == []
    for seq in ("0001", "0004"):
        assert len(list(place.sample(seq).glob("*_mask_*.nii.gz"))) == 17
        spleen = voxels(place.mask(seq, "_01_milt"))
        np.testing.assert_array_equal(spleen, voxels(place.mask(seq)) == 1)
    place.dataset_manifest("--label_explanation", label_map)


@pytest.mark.parametrize("command", ["binary_masks", "denoise"])
def test_a_label_map_that_lacks_labels_leaves_no_binary_masks(
    place: Place, tmp_path: Path, command: str
) -> None:
    fewer = write_label_map(tmp_path / "fewer.yaml", {}, without=(6,))
    masks = {seq: place.mask(seq).read_bytes() for seq in ("0001", "0004")}
    getattr(place, command)("--label_explanation", fewer, exit_code=3)
    assert {code for _, code in errors(place.root)} == {"unknown_label"}
    assert list(place.grouped.rglob("*_mask_*.nii.gz")) == []
    assert {seq: place.mask(seq).read_bytes() for seq in masks} == masks


def test_small_regions_tell_of_labels_that_the_map_lacks(place: Place, tmp_path: Path) -> None:
    fewer = write_label_map(tmp_path / "fewer.yaml", {}, without=(6,))
    place.small_regions("--label_explanation", fewer, exit_code=3)
    assert errors(place.root) == {("amos_0001", "unknown_label"), ("amos_0004", "unknown_label")}


EXTREME = [
    DenoiseParams((1000, 1000), 1000, 1.2345678901234567e-300),
    DenoiseParams((1000, 1000), 1000, 1.7976931348623157e308),
    DenoiseParams((1000, 1000), 1000, 12345678.901234567),
    DenoiseParams((1, 1), 0, 5e-324),
]


@pytest.mark.parametrize("params", EXTREME)
def test_the_mark_of_extreme_parameters_fits_and_is_recognised(params: DenoiseParams) -> None:
    mark = denoising_mark(params)
    assert len(mark) <= 79
    assert is_denoised(mark)


def test_denoising_twice_with_extreme_parameters_is_denoising_once(place: Place) -> None:
    words = ["--kernel_size", "1000", "1000", "--filter_halfedge", "1000"]
    words += ["--region_area_thresh", "1.2345678901234567e-300"]
    place.denoise(*words)
    before = snapshot(place.grouped)
    assert "2 were denoised before" in place.denoise(*words).stdout
    assert snapshot(place.grouped) == before


def test_counts_that_are_kept_do_not_undo_denoising(place: Place) -> None:
    shutil.rmtree(place.root / ".amos-dask" / "restore")
    place.command("stats", place.root)
    assert list((place.root / ".amos-dask" / "restore").glob("amos_0004-*"))
    before = snapshot(place.root)
    said = place.denoise(*DENOISE_OTHERWISE, exit_code=1)
    assert "the undenoised mask is not kept" in said.stderr
    assert snapshot(place.root) == before


# ---------------------------------------------------------------- 05


def test_a_mask_that_is_missing_beside_its_binary_masks_is_an_error(place: Place) -> None:
    place.mask("0004").unlink()
    place.dataset_manifest(exit_code=3)
    assert errors(place.root) == {("amos_0004", "missing_file")}
    row = table(place.manifest)["amos_0004"]
    assert [row["mask"], row["valid_labels"], row["mask_06_liver"]] == [None] * 3


def test_a_missing_binary_mask_is_an_error(place: Place) -> None:
    place.mask("0004", "_06_liver").unlink()
    place.dataset_manifest(exit_code=3)
    (issue,) = (issue for issue in issues(place.root) if issue["severity"] == "error")
    assert (issue["sample"], issue["code"]) == ("amos_0004", "missing_file")
    assert issue["file"].endswith("amos_0004_mask_06_liver.nii.gz")
    assert table(place.manifest)["amos_0004"]["mask_06_liver"] is None


def test_an_info_file_that_contradicts_its_folder_is_listed(place: Place) -> None:
    info = place.sample("0004") / "amos_0004_info.yaml"
    info.write_text(info.read_text().replace("subset: 'val'", "subset: 'test'"))
    before = place.manifest.read_bytes()
    said = place.dataset_manifest(exit_code=1)
    assert "amos_0004_info.yaml: subset is 'test'" in said.stderr
    assert place.manifest.read_bytes() == before


def test_a_folder_with_nothing_but_an_info_file_is_an_error(place: Place) -> None:
    for path in place.sample("0004").glob("*.nii.gz"):
        path.unlink()
    place.dataset_manifest(exit_code=3)
    assert {sample for sample, _ in errors(place.root)} == {"amos_0004"}
    assert list(table(place.manifest)) == ["amos_0001", "amos_0500"]


def test_a_label_that_the_map_lacks_is_an_error(organised: Place, tmp_path: Path) -> None:
    fewer = write_label_map(tmp_path / "fewer.yaml", {}, without=(6,))
    organised.dataset_manifest("--label_explanation", fewer, exit_code=3)
    assert errors(organised.root) == {
        ("amos_0001", "unknown_label"),
        ("amos_0004", "unknown_label"),
    }


def test_a_users_worksheet_survives(place: Place) -> None:
    edit(place.manifest, lambda workbook: workbook.create_sheet("Notes").append(["mine"]))
    place.dataset_manifest()
    workbook = load_workbook(place.manifest)
    assert workbook.sheetnames == ["Manifest", "Columns", SPLIT, "Notes"]
    assert workbook["Notes"]["A1"].value == "mine"


def test_issues_of_a_vanished_sample_disappear(place: Place) -> None:
    truncate(place.mask("0004"))
    place.small_regions(exit_code=3)
    place.binary_masks(exit_code=3)
    place.dataset_manifest(exit_code=3)
    assert {sample for sample, _ in errors(place.root)} == {"amos_0004"}
    shutil.rmtree(place.sample("0004"))
    place.small_regions()
    place.binary_masks()
    place.dataset_manifest()
    assert errors(place.root) == set()


# ---------------------------------------------------------------- 06 and 07 on edited workbooks


def edit(path: Path, change: Any) -> None:
    """Open a workbook, change it and save it."""
    workbook = load_workbook(path)
    change(workbook)
    workbook.save(path)


def test_a_split_of_numbered_folds_can_be_indexed(place: Place, tmp_path: Path) -> None:
    def add_folds(workbook: Any) -> None:
        header, *rows = workbook["Manifest"].values
        sheet = workbook.create_sheet("folds")
        sheet.append([*header, "folds"])
        for number, row in enumerate(rows):
            sheet.append([*row, number % 2])

    edit(place.manifest, add_folds)
    where = ("--manifest_file", place.manifest, "--split_name", "folds")
    output = ("--output_index_manifest_dir", tmp_path / "folds")
    subsets = ("--subsets", "0", "1", "--subsets", "0", "--subsets", "1")
    program("index-manifests", *where, *output, *subsets)
    found = {path.name: list(table(path)) for path in (tmp_path / "folds").iterdir()}
    assert found == {
        "folds_0_1.xlsx": ["amos_0001", "amos_0004", "amos_0500"],
        "folds_0.xlsx": ["amos_0001", "amos_0500"],
        "folds_1.xlsx": ["amos_0004"],
    }


def test_a_date_that_excel_recognised_stays_a_date(place: Place) -> None:
    day = datetime.datetime(1961, 4, 12)

    def put_date(workbook: Any) -> None:
        sheet = workbook["Manifest"]
        column = next(cell.column for cell in sheet[1] if cell.value == "birth_date")
        sheet.cell(2, column).value = day

    edit(place.manifest, put_date)
    program("make-split", "--manifest_file", place.manifest)
    assert table(place.manifest, SPLIT)["amos_0001"]["birth_date"] == day
