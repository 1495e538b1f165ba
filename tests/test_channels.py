"""Several channels and a file a label, from end to end: statistics, report, verify, leaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import OtherArchive, write_brats, write_decathlon, write_totalsegmentator
from roots import assert_same, contents, program, report_data, truncate, voxels

import amos_dask
from amos_dask.archive.discover import discover
from amos_dask.datasets import find_definition
from amos_dask.file_refs import file_ref
from amos_dask.handwritten import dump_yaml
from amos_dask.records import FileHeader, HeaderCheck, SampleRecord
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import EVERY_OUTPUT, Output, Receipts
from amos_dask.sample.soundness import verify_sample
from amos_dask.sample.todo import ScanSize, find_misread, largest_scan_bytes, seconds_a_voxel
from amos_dask.tables.workbook import read_sheet

CHANNELS = ("t1n", "t1c", "t2w", "t2f")
AREA = 100.0  # of denoising, seen on small slices


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> OtherArchive:
    return write_brats(tmp_path_factory.mktemp("brats"), 2023)


def denoised_brats(folder: Path, **keys: Any) -> Path:
    """Return a definition that has something to picture."""
    content = {**find_definition("brats").content, "denoise": ["edema"], **keys}
    path = folder / "brats.yaml"
    path.write_text(dump_yaml(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def root(
    archive: OtherArchive, cluster_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("made")
    run(folder / "R", archive.path, denoised_brats(folder), cluster_address)
    return folder / "R"


def run(
    root: Path, archive: Path, dataset: str | Path, cluster: str, **how: Any
) -> amos_dask.RunResult:
    result = amos_dask.run(
        root,
        archive,
        dataset=dataset,
        region_area_thresh=AREA,
        cluster=cluster,
        progress="none",
        **how,
    )
    assert result.exit_code == 0, result.issues
    return result


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "R"))


# ---------------------------------------------------------------- statistics


def intensities(root: Path) -> list[dict[str, Any]]:
    return read_sheet(root / "descriptor/statistics.xlsx", "Intensities").to_dict("records")


def test_intensities_are_those_of_each_channel(root: Path) -> None:
    manifest = read_sheet(root / "grouped/dataset_manifest.xlsx", "Manifest").to_dict("records")
    rows = [row for row in intensities(root) if row["grouped_by"] == "subset"]
    assert list(rows[0])[:5] == ["modality", "grouped_by", "group", "channel", "label_index"]
    assert [row["channel"] for row in rows] == [name for name in CHANNELS for _ in range(3)]
    for row in rows:
        column = f"volume_{CHANNELS.index(row['channel']):02d}_{row['channel']}"
        pooled = np.concatenate(
            [
                voxels(root / "grouped" / sample[column])[
                    voxels(root / "grouped" / sample["mask"]) == row["label_index"]
                ]
                for sample in manifest
                if sample["mask"]
            ]
        ).astype(np.float64)
        assert (row["n_voxels"], row["min"], row["max"]) == (
            pooled.size,
            pooled.min(),
            pooled.max(),
        )
        assert row["median"] == np.median(pooled)
        assert row["mean"] == pytest.approx(pooled.mean(), rel=1e-12)
    told = json.loads((root / "descriptor/statistics.json").read_text(encoding="utf-8"))
    assert told["intensities"] == intensities(root)
    assert "channel" not in told["organs"][0]


def test_what_is_not_kept_is_counted_and_pictured_from_the_files(
    root: Path, copied: Path, cluster_address: str
) -> None:
    kept = sorted((copied / ".amos-dask/restore").iterdir())
    with np.load(kept[0]) as content:  # the counts of one channel are gone, those of others stay
        arrays = {name: content[name] for name in content.files if name != "counts_02"}
    np.savez(kept[0], **arrays)
    with np.load(kept[1]) as content:  # all that was found of the volumes is gone
        arrays = {name: content[name] for name in ("voxels", "labels")}
    np.savez(kept[1], **arrays)
    for name in ("statistics.xlsx", "statistics.json", "report.html"):
        (copied / "descriptor" / name).unlink()
    program("report", copied, "--cluster", cluster_address, "--quiet")
    assert_same(contents(root, "descriptor"), contents(copied, "descriptor"))


def test_a_channel_that_cannot_be_read_is_an_issue(copied: Path, cluster_address: str) -> None:
    shutil.rmtree(copied / ".amos-dask/restore")
    name = "brats_BraTS-GLI-00000-000"
    (volume,) = copied.rglob(f"{name}_volume_03_t2f.nii.gz")
    volume.unlink()
    result = amos_dask.stats(copied, cluster=cluster_address, progress="none")
    assert {(i.sample, i.code) for i in result.issues if "t2f" in i.file} == {
        (name, "unreadable_volume")
    }
    assert {row["n_samples"] for row in result.frame.to_dict("records")} == {2}


# ---------------------------------------------------------------- report


def told(root: Path) -> dict[str, Any]:
    return report_data(root / "descriptor/report.html")


def test_the_page_tells_channel_origin_and_what_the_definition_leaves(root: Path) -> None:
    content = told(root)["content"]
    assert content["pictured_channel"] == "t1c"
    assert content["not_denoised"] == [1, 3, 4]
    assert content["exclusions"] == []
    brats = find_definition("brats")
    assert content["about"] == {"licence": brats.licence, "cite": brats.cite, "url": brats.url}
    assert [one["channel"] for one in content["intensities"]] == [
        name for name in CHANNELS for _ in range(3)
    ]
    assert content["counts"]["changed_voxels"] > 0
    assert content["overlaps"] == []


def test_another_channel_to_look_at_gives_other_pictures(
    root: Path, copied: Path, archive: OtherArchive, cluster_address: str, tmp_path: Path
) -> None:
    run(copied, archive.path, denoised_brats(tmp_path, report_channel="t2f"), cluster_address)
    before, after = told(root), told(copied)
    assert after["content"]["pictured_channel"] == "t2f"
    pictures = [name for name in before if name.startswith("pictures-")]
    assert pictures
    for name in pictures:
        for one, other in zip(before[name], after[name], strict=True):
            assert {key for key in one if one[key] != other[key]} == {"image"}


def test_without_denoising_there_are_no_changes_to_look_at(
    archive: OtherArchive, cluster_address: str, tmp_path: Path
) -> None:
    run(tmp_path / "R", archive.path, "brats", cluster_address, statistics=False)
    content = told(tmp_path / "R")["content"]
    assert content["not_denoised"] == [1, 2, 3, 4]
    assert content["exclusions"] == []
    assert content["counts"]["changed_voxels"] == 0


def test_pairs_of_labels_that_share_most_are_told(tmp_path: Path, cluster_address: str) -> None:
    archive = write_totalsegmentator(tmp_path, n_scans=2, shape=(24, 20, 14))
    run(tmp_path / "R", archive.path, "totalsegmentator", cluster_address, statistics=False)
    overlaps = told(tmp_path / "R")["content"]["overlaps"]
    expected: dict[tuple[int, int], list[int]] = {}
    for sample in archive.samples:
        for pair, n in sample.overlaps.items():
            expected.setdefault(pair, []).append(n)
    most = sorted(expected, key=lambda pair: (-sum(expected[pair]), pair))[:20]
    assert [(one["label"], one["other"]) for one in overlaps] == most
    for one, pair in zip(overlaps, most, strict=True):
        assert (one["n_voxels"], one["n_samples"]) == (sum(expected[pair]), len(expected[pair]))
        assert one["mm3"] == pytest.approx(1.5**3 * one["n_voxels"])


# ---------------------------------------------------------------- verify

Findings = set[tuple[str, str]]


def findings(archive: Path, dataset: str, *, full: bool = False) -> Findings:
    """Return code and file of each error in an archive."""
    definition = find_definition(dataset)
    found = discover([str(archive)], definition)
    values = found.definition.label_values
    issues = [
        issue
        for sample in found.samples
        for issue in verify_sample(sample, full=full, label_values=values).issues
    ]
    assert len(issues) == len(set(issues))
    return {(i.code, i.file) for i in issues if i.severity == "error"}


@pytest.fixture
def brats(archive: OtherArchive, tmp_path: Path) -> OtherArchive:
    path = Path(shutil.copytree(archive.path, tmp_path / "brats"))
    return OtherArchive(path, archive.samples, archive.junk)


@pytest.mark.parametrize("channel", range(4))
def test_a_damaged_channel_is_found(channel: int, brats: OtherArchive) -> None:
    image = brats.samples[0].images[channel]
    truncate(brats.path / image)
    for full in (False, True):
        assert findings(brats.path, "brats", full=full) == {("unreadable_volume", image)}


def move(path: Path, shift_mm: float) -> None:
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += shift_mm
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


def test_a_channel_on_another_grid_is_found(brats: OtherArchive) -> None:
    near, far = (brats.samples[0].images[k] for k in (1, 2))
    move(brats.path / near, 1e-4)
    move(brats.path / far, 2.0)
    assert findings(brats.path, "brats") == {("unreadable_volume", far)}


def test_the_mask_of_several_channels_of_another_shape_is_found(brats: OtherArchive) -> None:
    mask = brats.samples[0].mask_name
    image = nib.load(brats.path / mask)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine), brats.path / mask)
    assert findings(brats.path, "brats") == {("shape_mismatch", mask)}


def test_masks_of_labels_are_looked_at_one_by_one(tmp_path: Path) -> None:
    archive = write_totalsegmentator(tmp_path, n_scans=2, n_labels=5, defects=True).path
    binary = ("bad_mask_values", "s0001/segmentations/spleen.nii.gz")
    assert findings(archive, "totalsegmentator") == set()
    assert findings(archive, "totalsegmentator", full=True) == {binary}
    cut, moved = (f"s0000/segmentations/{n}.nii.gz" for n in ("liver", "kidney_left"))
    truncate(archive / cut)
    move(archive / moved, 9.0)
    expected = {("unreadable_mask", cut), ("unreadable_mask", moved)}
    assert findings(archive, "totalsegmentator") == expected
    assert findings(archive, "totalsegmentator", full=True) == {*expected, binary}


def test_channels_along_the_fourth_axis_are_looked_at(tmp_path: Path) -> None:
    archive = write_decathlon(tmp_path, "brain")
    for full in (False, True):
        assert findings(archive.path, "decathlon", full=full) == set()
    path = archive.path / archive.samples[0].image
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., :3], image.affine), path)
    assert findings(archive.path, "decathlon") == {("unreadable_volume", archive.samples[0].image)}


def test_values_that_stand_for_labels_are_no_finding(brats: OtherArchive) -> None:
    sample = discover([str(brats.path)], find_definition("brats")).samples[0]
    mask = brats.path / brats.samples[0].mask_name
    image = nib.load(mask)
    stored = np.asarray(image.dataobj).astype(np.int16)
    nib.save(nib.Nifti1Image(np.where(stored == 1, 500, stored), image.affine), mask)
    assert [i.code for i in verify_sample(sample, full=True).issues] == ["bad_mask_values"]
    assert verify_sample(sample, full=True, label_values={500: 1}).issues == ()


def test_verify_names_a_channel_that_is_missing(
    brats: OtherArchive, cluster_address: str, tmp_path: Path
) -> None:
    lost = brats.samples[0]
    (brats.path / lost.images[2]).unlink()
    result = amos_dask.verify(brats.path, dataset="brats", cluster=cluster_address, progress="none")
    assert [(i.code, i.sample) for i in result.issues if i.severity == "error"] == [
        ("missing_channel", lost.sample_id)
    ]
    plan = amos_dask.plan_run(tmp_path / "R", brats.path, dataset="brats").samples.set_index("ID")
    assert plan.loc[lost.sample_id, ["todo", "read_bytes"]].tolist() == ["kept", 0]


def test_a_finished_root_is_sound_and_an_altered_channel_is_found(
    copied: Path, cluster_address: str
) -> None:
    verify: Callable[..., amos_dask.CommandResult] = amos_dask.verify
    options = {"cluster": cluster_address, "progress": "none"}
    assert verify(copied, full=True, **options).exit_code == 0
    truncate(next(copied.rglob("*_volume_02_t2w.nii.gz")))
    (issue,) = (i for i in verify(copied, **options).issues if i.severity == "error")
    assert issue.code == "altered_output"
    assert issue.file.endswith("_volume_02_t2w.nii.gz")


# ---------------------------------------------------------------- what it costs


def test_a_dry_run_reckons_with_all_files(archive: OtherArchive, tmp_path: Path) -> None:
    plan = amos_dask.plan_run(tmp_path / "R", archive.path, dataset="brats")
    for row, sample in zip(plan.samples.to_dict("records"), archive.samples, strict=True):
        names = [*sample.images, *([sample.mask_name] if sample.mask_name else [])]
        assert row["read_bytes"] == sum((archive.path / n).stat().st_size for n in names)
        n_voxels = nib.load(archive.path / sample.image).header.get_data_shape()
        assert row["write_bytes"] >= 4 * 1.1 * np.prod(n_voxels) - 1


def test_a_scan_costs_by_channels_and_by_masks_that_are_merged(
    archive: OtherArchive, tmp_path: Path
) -> None:
    total = write_totalsegmentator(tmp_path, n_labels=40)
    merged = discover([str(total.path)], find_definition("totalsegmentator")).samples[0]
    samples = discover([str(archive.path)], find_definition("brats")).samples
    assert seconds_a_voxel(samples[0], Output.VOLUME) == 4 * seconds_a_voxel(merged, Output.VOLUME)
    assert seconds_a_voxel(merged, Output.MASKS) > 2 * seconds_a_voxel(samples[0], Output.MASKS)
    one, four = (ScanSize(10**8, is_whole=False, n_channels=n).peak_bytes for n in (1, 4))
    assert four - one >= 3 * 4 * 10**8
    assert largest_scan_bytes(samples) > ScanSize().peak_bytes


def test_both_files_of_a_pair_are_read(tmp_path: Path) -> None:
    image = nib.Nifti1Pair(np.zeros((4, 5, 6), np.int16), np.eye(4))
    nib.save(image, tmp_path / "a.hdr")
    header, pair = (file_ref(tmp_path / name, name) for name in ("a.hdr", "a.img"))
    assert replace(header, pair=pair).n_bytes == header.size + pair.size > header.size


def test_the_first_channel_tells_the_grid_of_what_was_made(root: Path) -> None:
    layout = Layout.of(root)
    receipt = Receipts(layout).read("brats_BraTS-GLI-00000-000")
    assert receipt is not None
    assert receipt.headers is not None
    assert find_misread(receipt.record, receipt.headers) == frozenset()
    first, *others = receipt.headers.files
    moved = FileHeader("x", "volume", affine_json=json.dumps(np.diag([9.0, 9, 9, 1]).tolist()))
    headers = [HeaderCheck("x", files, ()) for files in ((first, moved, *others), (moved, *others))]
    known: SampleRecord = receipt.record
    assert [find_misread(known, one) for one in headers] == [frozenset(), EVERY_OUTPUT]


# ---------------------------------------------------------------- leaks


def test_a_duplicate_is_told_by_the_first_channel(
    archive: OtherArchive, tmp_path: Path, cluster_address: str
) -> None:
    path = Path(shutil.copytree(archive.path, tmp_path / "brats"))
    train, val = archive.samples[0], archive.samples[1]
    shutil.copyfile(path / train.image, path / val.image)
    shape = nib.load(path / train.image).shape
    for name in val.more_images:  # on the grid of the first
        affine = nib.load(path / train.image).affine
        nib.save(nib.Nifti1Image(np.ones(shape, np.int16), affine), path / name)
    run(tmp_path / "R", path, "brats", cluster_address, statistics=False, report=False)
    result = amos_dask.leaks(tmp_path / "R", cluster=cluster_address, progress="none")
    (found,) = result.issues
    assert (found.code, found.sample) == ("duplicate_scan", train.sample_id)
    assert (tmp_path / "R" / found.file).is_file()
    assert found.file.endswith("_volume_00_t1n.nii.gz")
    lines = (tmp_path / "R/descriptor/issues.jsonl").read_text().splitlines()
    assert [line for line in lines if "duplicate_scan" in line]
