"""The report of a run: what it tells is what lies on disk; looking and correcting is one loop."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import oracle
import pytest
from openpyxl import load_workbook
from roots import assert_same, contents, errors, program, report_data, sample_dir, voxels

import amos_dask
from amos_dask.phantom import Archive, write_archive
from amos_dask.root.kept import KeptFiles
from amos_dask.steps.pictures import PICTURE_ARRAY

AREA = 100.0  # of denoising, seen on small slices


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return an archive with every quirk and four damaged samples."""
    return write_archive(
        tmp_path_factory.mktemp("archive"), n_ct=7, n_mri=2, size="tiny", seed=5, defects=True
    )


@pytest.fixture(scope="module")
def root(archive: Archive, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return its finished ROOT_DIR."""
    folder = tmp_path_factory.mktemp("report") / "AMOS22"
    result = run(folder, archive, cluster_address)
    assert folder / "descriptor" / "report.html" in result.outputs
    return folder


def run(root: Path, archive: Archive, cluster: str, **options: Any) -> amos_dask.RunResult:
    return amos_dask.run(
        root,
        archive.path,
        region_area_thresh=AREA,
        cluster=cluster,
        progress="none",
        **options,
    )


@pytest.fixture(scope="module")
def unseen(
    archive: Archive, cluster_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a ROOT_DIR of the same name whose volumes nobody has looked at under their masks."""
    root = tmp_path_factory.mktemp("unseen") / "AMOS22"
    run(root, archive, cluster_address, statistics=False, report=False)
    return root


def told(root: Path) -> dict[str, Any]:
    return report_data(root / "descriptor" / "report.html")


def before_and_after(root: Path, sample: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample's mask as it would be without denoising, and as it is."""
    path = root / sample["folder"] / f"{sample['id']}_mask.nii.gz"
    after = np.asarray(nib.load(path).dataobj)
    undone = KeptFiles(root / ".amos-dask" / "restore").undo(sample["id"], path, after)
    return (after if undone is None else undone), after


def test_a_page_tells_archive_and_parameters_and_no_place_of_the_machine(
    root: Path, archive: Archive, tmp_path: Path, cluster_address: str
) -> None:
    page = root / "descriptor" / "report.html"
    content = told(root)["content"]
    assert content["archive"] == [archive.path.name]
    assert content["denoising"]["region_area_thresh"] == AREA
    text = page.read_text(encoding="utf-8")
    assert str(root.parent) not in text
    assert str(archive.path.parent) not in text
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    (copy / "descriptor" / "report.html").unlink()
    program("report", copy, "--cluster", cluster_address)
    assert (copy / "descriptor" / "report.html").read_bytes() == page.read_bytes()


def test_every_sample_is_told_as_it_lies_on_disk(root: Path) -> None:
    samples = told(root)["content"]["samples"]
    folders = {path.name[:9] for path in (root / "grouped").rglob("amos_*") if path.is_dir()}
    assert [sample["id"] for sample in samples] == sorted(folders)
    n_changed = 0
    for sample in samples:
        assert (root / sample["folder"]).is_dir()
        if sample["labels"] is None:
            assert sample["changes"] == []
            continue
        before, after = before_and_after(root, sample)
        changes = [list(change) for change in oracle.label_changes(before, after)]
        assert sample["changes"] == changes
        assert sample["changed_voxels"] == (before != after).sum()
        labels, counts = np.unique(after[after > 0], return_counts=True)
        cm3 = float(np.prod(sample["spacing_mm"])) / 1000
        assert list(sample["volumes_cm3"]) == [str(label) for label in labels]
        assert list(sample["volumes_cm3"].values()) == pytest.approx(counts * cm3, abs=1e-3)
        n_changed += bool(changes)
    counted = told(root)["content"]["counts"]
    assert counted["changed_samples"] == n_changed > 5
    assert counted["changed_voxels"] == sum(sample["changed_voxels"] for sample in samples)
    assert counted["with_mask"] == sum(sample["labels"] is not None for sample in samples)


def test_every_changed_mask_is_pictured_where_it_changed_most(root: Path) -> None:
    data = told(root)
    pictured = [name.removeprefix("pictures-") for name in data if name.startswith("pictures-")]
    changed = [s for s in data["content"]["samples"] if s["changed_voxels"]]
    worst_first = sorted(changed, key=lambda s: (-s["changed_voxels"], s["id"]))
    assert pictured == [sample["id"] for sample in worst_first]
    for sample in changed:
        before, after = before_and_after(root, sample)
        slices = data[f"pictures-{sample['id']}"]
        assert sample["n_pictures"] == len(slices)
        by_slice = (before != after).sum(axis=(0, 1))
        assert sum(c[2] for c in slices[0]["changes"]) == by_slice.max()
        for shown in slices:
            k = shown["k"]
            assert shown["changes"] == [
                list(change) for change in oracle.label_changes(before[..., k], after[..., k])
            ]
        # Every label that changed is to be seen, unless six slices cannot show them all.
        seen = {label for shown in slices for change in shown["changes"] for label in change[:2]}
        involved = {label for change in sample["changes"] for label in change[:2]}
        assert seen == involved or len(slices) == 6


def test_failed_samples_and_every_other_issue_are_told(root: Path, archive: Archive) -> None:
    issues = told(root)["content"]["issues"]
    failed = {(i["sample"], i["code"]) for i in issues if i["severity"] == "error"}
    assert failed == errors(root)
    planted = {sample.sample_id for sample in archive.samples if sample.defect}
    assert planted <= {sample for sample, _ in failed}
    severities = Counter(issue["severity"] for issue in issues)
    counts = told(root)["content"]["counts"]
    assert [counts[f"{name}s"] for name in ("error", "warning", "info")] == [
        severities[name] for name in ("error", "warning", "info")
    ]


def test_repairs_of_affines_are_told_with_their_norms(root: Path) -> None:
    content = told(root)["content"]
    repaired = {i["sample"] for i in content["issues"] if i["code"] == "affine_repaired"}
    norms = {s["id"]: s["repair_norm"] for s in content["samples"] if s["repair_norm"] is not None}
    assert repaired
    assert set(norms) == repaired & {sample["id"] for sample in content["samples"]}
    assert min(norms.values()) > 0


def test_regions_are_those_of_the_manifests(root: Path) -> None:
    content = told(root)["content"]
    for moment, suffix in (("before", ""), ("after", "_after_modification")):
        book = root / "descriptor" / f"small_connected_region_100{suffix}_manifest.xlsx"
        rows = amos_dask.tables.workbook.read_sheet(book, "Regions").to_dict("records")
        assert content["counts"]["regions"][0][moment] == len(rows)
        found = Counter((row["ID"], row["label_index"]) for row in rows)
        shown = {
            (sample["id"], label): n
            for sample in content["samples"]
            for label, n in sample[f"regions_{moment}"]
        }
        assert shown == found


def test_times_are_told_of_every_stage(root: Path) -> None:
    times = told(root)["times"]
    steps = {step["name"]: step for step in times["steps"]}
    assert {"read mask", "denoise", "small regions", "write masks", "volume"} <= set(steps)
    assert all(step["max_s"] >= step["median_s"] >= 0 for step in steps.values())
    seconds = [spent for _, spent in times["samples"]]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) == pytest.approx(sum(s["total_s"] for s in steps.values()), abs=0.1)


def test_what_is_up_to_date_is_not_written_again(
    root: Path, archive: Archive, cluster_address: str
) -> None:
    page = root / "descriptor" / "report.html"
    stamp = page.stat().st_mtime_ns
    run(root, archive, cluster_address)
    assert page.stat().st_mtime_ns == stamp


def test_the_command_makes_what_run_makes(
    root: Path, unseen: Path, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(unseen, copy)
    program("stats", copy, "--cluster", cluster_address, exit_code=3)  # one has a label too many
    result = program("report", copy, "--cluster", cluster_address)
    assert str(copy / "descriptor" / "report.html") in result.stdout
    assert_same(contents(root), contents(copy))
    said = program("verify", copy, "--cluster", cluster_address, exit_code=3).stdout
    assert "as it was written, with errors" in said


def test_without_receipts_the_files_themselves_are_described(
    root: Path, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    shutil.rmtree(copy / ".amos-dask" / "receipts")
    program("report", copy, "--cluster", cluster_address, exit_code=3)  # one has a label too many
    content = told(copy)["content"]
    assert content["samples"] == told(root)["content"]["samples"]


def test_a_run_without_report_leaves_that_of_before(
    root: Path, archive: Archive, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    run(copy, archive, cluster_address, report=False)
    report = "descriptor/report.html"
    assert (copy / report).read_bytes() == (root / report).read_bytes()
    (copy / report).unlink()
    run(copy, archive, cluster_address)
    assert_same(contents(root), contents(copy))


def test_a_run_without_statistics_tells_no_volumes(
    unseen: Path, archive: Archive, tmp_path: Path, cluster_address: str
) -> None:
    root = Path(shutil.copytree(unseen, tmp_path / "R"))
    run(root, archive, cluster_address, statistics=False)
    content = told(root)["content"]
    assert {sample["volumes_cm3"] is None for sample in content["samples"]} == {True}
    assert content["intensities"] == content["outliers"] == []


def test_rejecting_and_running_again_is_one_loop(
    root: Path, archive: Archive, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    first, second, *others = [
        sample for sample in told(root)["content"]["samples"] if sample["changed_voxels"]
    ]
    label = max(second["changes"], key=lambda change: change[2])[0]
    rows = io.StringIO()
    csv.writer(rows).writerows([["sample", "label"], [first["id"], ""], [second["id"], label]])
    exclude = tmp_path / "denoise_exclude.csv"
    exclude.write_text(rows.getvalue(), encoding="utf-8")
    run(copy, archive, cluster_address, exclude=exclude)
    content = told(copy)["content"]
    assert content["exclusions"] == [
        {"sample": first["id"], "label": None},
        {"sample": second["id"], "label": label},
    ]
    after = {sample["id"]: sample for sample in content["samples"]}
    assert after[first["id"]]["changes"] == []
    assert after[first["id"]]["n_pictures"] == 0
    assert all(label not in change[:2] for change in after[second["id"]]["changes"])
    assert [after[sample["id"]] for sample in others] == others
    before, _ = before_and_after(root, first)
    mask = sample_dir(copy / "grouped", first["id"][5:]) / f"{first['id']}_mask.nii.gz"
    assert (voxels(mask) == before).all()


def test_notes_that_were_saved_are_on_the_next_page(
    root: Path, archive: Archive, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    exclude = tmp_path / "denoise_exclude.csv"
    for note in ("a note", "another"):  # of which the second replaces the first
        line = f'# review: amos_0004,seen,12,"{note}"'
        exclude.write_text(f"sample,label\n{line}\n", encoding="utf-8")
        run(copy, archive, cluster_address, exclude=exclude)
        assert [review["note"] for review in told(copy)["content"]["reviews"]] == [note]


def test_damaged_pictures_are_taken_again(root: Path, tmp_path: Path, cluster_address: str) -> None:
    damages = cycle((b"", b"[{", b"{}", b"\xff"))
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    for path, damage in zip((copy / ".amos-dask" / "restore").iterdir(), damages, strict=False):
        with np.load(path) as kept:
            arrays = {name: kept[name] for name in kept.files}
        np.savez(path, **{**arrays, PICTURE_ARRAY: np.frombuffer(damage, np.uint8)})
    (copy / "descriptor" / "report.html").unlink()
    program("report", copy, "--cluster", cluster_address)
    assert_same(contents(root), contents(copy))


def test_an_edited_archive_manifest_costs_the_norms_only(
    root: Path, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(root, copy)
    path = copy / "descriptor" / "archive_manifest.xlsx"
    book = load_workbook(path)
    for row in range(2, book["Manifest"].max_row + 1):
        book["Manifest"].cell(row, 3).value = "a note"
    book.save(path)
    program("report", copy, "--cluster", cluster_address)
    norms = {sample["repair_norm"] for sample in told(copy)["content"]["samples"]}
    assert norms == {None}


def test_pictures_of_files_that_cannot_be_read_are_issues(
    root: Path, unseen: Path, tmp_path: Path, cluster_address: str
) -> None:
    copy = tmp_path / "AMOS22"
    shutil.copytree(unseen, copy)
    worst = next(name for name in told(root) if name.startswith("pictures-"))[9:]
    volume = sample_dir(copy / "grouped", worst[5:]) / f"{worst}_volume.nii.gz"
    data = bytearray(volume.read_bytes())
    data[len(data) // 2 :] = data[: len(data) - len(data) // 2]
    volume.write_bytes(data)
    result = program("report", copy, "--cluster", cluster_address, "--no_statistics", exit_code=3)
    assert f"error: {worst} " in result.output
    assert "unreadable_volume" in result.output
    assert f"pictures-{worst}" not in told(copy)
    found = {(one["sample"], one["code"]) for one in told(copy)["content"]["issues"]}
    assert (worst, "unreadable_volume") in found  # the page tells what was found in making it


def test_no_date_of_a_patient_is_told(processed_root: Path) -> None:
    infos = [path.read_text() for path in processed_root.rglob("*_info.yaml")]
    dates = {line.split("'")[1] for text in infos for line in text.splitlines() if "_date" in line}
    assert len(dates) > 10
    for name in ("report.html", "statistics.json", "issues.jsonl"):
        text = (processed_root / "descriptor" / name).read_text()
        assert [date for date in dates if date in text] == []
