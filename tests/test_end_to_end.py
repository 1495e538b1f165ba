"""Whole runs on phantom archives, held against the slow reference and against each other."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import reference
from click.testing import CliRunner
from roots import BARE, assert_same, contents

import amos_dask
from amos_dask.cli import main
from amos_dask.phantom import Archive

REAL_SCANS = os.environ.get("AMOS_DASK_REAL_SCANS", "")


@dataclass(frozen=True)
class Finished:
    """A ROOT_DIR after a run, and what the reference expects there."""

    root: Path
    result: amos_dask.RunResult
    expected: reference.Expected


@pytest.fixture(scope="module")
def finished(
    phantom: Archive, tmp_path_factory: pytest.TempPathFactory, cluster_address: str
) -> Finished:
    """Run everything on the phantom with two workers."""
    root = tmp_path_factory.mktemp("finished") / "AMOS22"
    result = amos_dask.run(
        root,
        phantom.path,
        region_volume_thresh=(100.0, 300.0),
        cluster=cluster_address,
        progress="none",
    )
    expected = reference.expected(
        phantom.path, phantom.metadata_path, region_thresholds=(100.0, 300.0)
    )
    return Finished(root, result, expected)


def command(arguments: Sequence[str | Path], exit_code: int = 0) -> str:
    """Run the program and return what it says."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_run_gives_what_the_reference_expects(finished: Finished) -> None:
    reference.assert_root_matches(finished.root, finished.expected)


def test_run_finds_every_issue_and_invents_none(finished: Finished) -> None:
    reference.assert_issues(finished.root, finished.expected, check_files=True)
    assert finished.result.exit_code == amos_dask.ExitCode.DONE == finished.expected.exit_code


def test_run_leaves_no_temporary_files(finished: Finished) -> None:
    leftovers = [path for path in finished.root.rglob("*") if path.name.endswith("~")]
    assert leftovers == []


def test_result_frames_are_what_was_written(finished: Finished) -> None:
    expected = finished.expected.dataset_manifest
    assert list(finished.result.dataset_manifest["ID"]) == [row["ID"] for row in expected]
    assert len(finished.result.archive_manifest) == len(finished.expected.archive_manifest)


@pytest.mark.parametrize(("form", "is_alone"), [("zip", True), ("tar", False)])
def test_same_bytes_with_one_worker_and_from_one_file(
    form: str,
    is_alone: bool,
    finished: Finished,
    phantom: Archive,
    cluster_address: str,
    tmp_path: Path,
) -> None:
    one_worker = amos_dask.ClusterOptions(workers=1, dashboard_port=0)
    archive = tmp_path / f"amos22.{form}"
    if form == "zip":
        zip_folder(phantom.path, archive)
    else:
        with tarfile.open(archive, "w") as tar:
            tar.add(phantom.path, ".")
    root = tmp_path / "from_one_file"

    def run() -> amos_dask.RunResult:
        return amos_dask.run(
            root,
            archive,
            region_volume_thresh=(100.0, 300.0),
            cluster=one_worker if is_alone else cluster_address,
            progress="none",
        )

    run()
    assert_same(contents(finished.root), contents(root))
    if not is_alone:
        assert set(run().reasons) == {"complete"}


def zip_folder(folder: Path, target: Path) -> Path:
    """Zip a folder's files, half of them stored and half deflated."""
    with zipfile.ZipFile(target, "w") as archive:
        for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
            method = zipfile.ZIP_STORED if number % 2 else zipfile.ZIP_DEFLATED
            archive.write(path, path.relative_to(folder).as_posix(), method)
    return target


def test_rerun_changes_nothing(finished: Finished, phantom: Archive, cluster_address: str) -> None:
    before = contents(finished.root)
    archive_before = reference.digest_files(phantom.path)
    amos_dask.run(
        finished.root,
        phantom.path,
        region_volume_thresh=(100.0, 300.0),
        cluster=cluster_address,
        progress="none",
    )
    assert_same(before, contents(finished.root))
    assert reference.digest_files(phantom.path) == archive_before


def tutorial(root: Path, archive: Path) -> list[list[str | Path]]:
    """Return the tutorial's commands in its order, with its option spellings."""
    grouped, descriptor = root / "grouped", root / "descriptor"
    manifest = descriptor / "archive_manifest.xlsx"
    regions = descriptor / "small_connected_region_100_manifest.xlsx"
    after = descriptor / "small_connected_region_100_after_modification_manifest.xlsx"
    label_map = descriptor / "label_map.yaml"
    names = ("AMOS-CT", "ct"), ("AMOS-MRI", "mri")
    commands: list[list[str | Path]] = [
        ["archive-manifest", "--root_dir", archive, "--output_manifest_file", manifest],
        *(
            [
                "confirm-pairs",
                "--modality",
                modality,
                "--root_dir",
                archive,
                "--output_dir",
                grouped / group,
                "--archive_manifest",
                manifest,
            ]
            for group, modality in names
        ),
        ["split-prostate-uterus", "--root_dir", grouped],
        ["binary-masks", "--root_dir", grouped, "--label_explanation", label_map],
        [
            "small-regions",
            "--root_dir",
            grouped,
            "--region_volume_thresh",
            "100.0",
            "--output_manifest",
            regions,
        ],
        [
            "denoise",
            "--root_dir",
            grouped,
            "--output_dir",
            grouped,
            "--kernel_size",
            "5",
            "5",
            "--filter_halfedge",
            "3",
            "--region_area_thresh",
            "10.0",
        ],
        [
            "small-regions",
            "--root_dir",
            grouped,
            "--region_volume_thresh",
            "100.0",
            "--output_manifest",
            after,
        ],
    ]
    datasets = (
        (grouped, grouped / "dataset_manifest.xlsx"),
        *(
            (grouped / group, grouped / group / f"dataset_manifest_amos_{modality}.xlsx")
            for group, modality in names
        ),
    )
    for folder, dataset in datasets:
        splits = folder / "splits" / "split01_standard"
        commands += [
            ["dataset-manifest", "--root_dir", folder, "--output_manifest_file", dataset],
            ["make-split", "--manifest_file", dataset, "--split_name", "split01_standard"],
            [
                "index-manifests",
                "--manifest_file",
                dataset,
                "--split_name",
                "split01_standard",
                "--output_index_manifest_dir",
                splits,
                "--subsets",
                "train",
                "val",
                "--subsets",
                "train",
                "--subsets",
                "val",
                "--subsets",
                "test",
            ],
        ]
    return commands


def on_cluster(words: list[str | Path], address: str) -> list[str | Path]:
    """Add the cluster to a command that takes one."""
    return (
        words if words[0] in ("make-split", "index-manifests") else [*words, "--cluster", address]
    )


def test_the_tutorials_commands_give_the_same_files(
    finished: Finished, phantom: Archive, root: Path, cluster_address: str
) -> None:
    (root / "descriptor").mkdir(parents=True)
    shutil.copy(finished.root / "descriptor" / "label_map.yaml", root / "descriptor")
    for words in tutorial(root, phantom.path):
        command(on_cluster(words, cluster_address))
    command(on_cluster(["stats", root], cluster_address))
    command(on_cluster(["report", root], cluster_address))
    whole = contents(finished.root)
    of_300 = [name for name in whole if "_300_" in name]
    assert len(of_300) == 2
    expected = {name: content for name, content in whole.items() if name not in of_300}
    assert expected["descriptor/report.html"]["content"]["counts"]["regions"].pop()
    assert_same(expected, contents(root))


DEFECT_CODES = {
    "truncated_volume": "unreadable_volume",
    "unreadable_mask": "unreadable_mask",
    "mask_shape": "shape_mismatch",
    "unknown_label": "unknown_label",
}


def make_odd(archive: Path) -> None:
    """Make an archive odd in the ways that its files' voxels do not show."""
    csv_path = next(archive.glob("*.csv"))
    rows = list(csv.reader(csv_path.open(encoding="utf-8")))
    scanner = rows[0].index("Manufacturer's Model Name")
    by_id = {row[0]: row for row in rows}
    by_id["1"][scanner] = "Some/New Scanner"
    by_id["4"][scanner] = ""
    by_id["9"][scanner] = "Prisma"  # an MR scanner for a CT's number
    with csv_path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(row for row in rows if row[0] != "50")
    listing = json.loads((archive / "dataset.json").read_text())
    moved = next(e for e in listing["training"] if "amos_0111" in e["image"])
    listing["training"].remove(moved)
    listing["validation"].append(moved)
    (archive / "dataset.json").write_text(json.dumps(listing))
    next(archive.glob("labels*/amos_0222*")).unlink()
    next(archive.glob("images*/amos_0508*")).unlink()
    (archive / "imagesTr" / "notes.txt").write_text("stray")


def test_an_odd_and_damaged_archive_gives_what_the_reference_expects(
    finished: Finished, damaged_phantom: Archive, tmp_path: Path, cluster_address: str
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(damaged_phantom.path, archive)
    make_odd(archive)
    root = tmp_path / "AMOS22"
    said = command(["run", root, "--archive", archive, "--cluster", cluster_address], exit_code=3)
    expected = reference.expected(archive, reference.find_metadata_csv(archive))
    reference.assert_root_matches(root, expected)
    issues = [json.loads(line) for line in (root / "descriptor/issues.jsonl").open()]
    assert {(issue["code"], issue["sample"]) for issue in issues} >= {
        ("unknown_scanner", "amos_0001"),
        ("unknown_scanner", "amos_0004"),
        ("modality_mismatch", "amos_0009"),
        ("metadata_row_missing", "amos_0050"),
        ("subset_mismatch", "amos_0111"),
        ("missing_mask", "amos_0222"),
        ("mask_without_volume", "amos_0508"),
        ("unexpected_file", ""),
    }
    planted = {
        (sample.sample_id, DEFECT_CODES[sample.defect])
        for sample in damaged_phantom.samples
        if sample.defect
    }
    assert len(planted) == 4
    errors = {(i["sample"], i["code"]) for i in issues if i["severity"] == "error"}
    assert errors == planted | {("amos_0508", "mask_without_volume")}
    assert "5 samples failed" in said
    concerned = {f"amos_{n}" for n in ("0001", "0004", "0009", "0050", "0111", "0222", "0508")}
    good = {
        name: content
        for name, content in contents(finished.root, "grouped").items()
        if not name.endswith(".xlsx") and Path(name).name[:9] not in concerned
    }
    found = contents(root, "grouped")
    assert good
    assert_same(good, {name: found[name] for name in good})


def test_a_choice_of_samples_leaves_manifests_whole(
    finished: Finished, phantom: Archive, tmp_path: Path, cluster_address: str
) -> None:
    root = tmp_path / "AMOS22"
    run = ["run", root, "--archive", phantom.path, "--cluster", cluster_address, "--quiet"]
    run += ["--region_volume_thresh", "100", "--region_volume_thresh", "300"]
    command([*run, "--modality", "mri", *BARE])
    assert not (root / "grouped" / "AMOS-CT").exists()
    command([*run, "--modality", "ct"])
    assert_same(contents(finished.root), contents(root))
    command([*run, "--ids", "amos_0004"])
    assert_same(contents(finished.root), contents(root))


def test_a_changed_sex_moves_the_sample(
    finished: Finished, phantom: Archive, tmp_path: Path, cluster_address: str
) -> None:
    root = tmp_path / "AMOS22"
    shutil.copytree(finished.root, root)
    rows = list(csv.reader(phantom.metadata_path.open(encoding="utf-8")))
    sex = rows[0].index("Patient's Sex")
    row = next(row for row in rows if row[0] == "4")
    old, row[sex] = row[sex], "M" if row[sex] == "F" else "F"
    changed = tmp_path / "labeled_data_meta_changed.csv"
    with changed.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    folder = next((root / "grouped").rglob("amos_0004_*"))
    words = ["run", root, "--archive", phantom.path, "--labeled_data_meta", changed, *BARE]
    command([*words, "--ids", "4", "--cluster", cluster_address, "--region_volume_thresh", "100"])
    assert folder.name == f"amos_0004_{old}"
    assert not folder.exists()
    assert (folder.parent / f"amos_0004_{row[sex]}" / "amos_0004_volume.nii.gz").exists()


@pytest.mark.skipif(not REAL_SCANS, reason="AMOS_DASK_REAL_SCANS names no folder of real scans")
def test_real_scans(root: Path, cluster_address: str) -> None:
    command(["run", root, "--archive", REAL_SCANS, "--cluster", cluster_address])
    archive = Path(REAL_SCANS)
    expected = reference.expected(archive, reference.find_metadata_csv(archive))
    reference.assert_root_matches(root, expected)
    reference.assert_issues(root, expected, check_files=True)
    assert expected.mr_metadata_offset == -1
