"""CT-ORG and a Decathlon task from end to end: every file held against the slow oracle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import oracle
import pytest
from distributed import Client
from mini import QUIET
from numpy.typing import NDArray
from openpyxl import load_workbook
from phantoms import OtherArchive, OtherSample, write_ct_org, write_decathlon
from roots import (
    BARE,
    assert_same,
    contents,
    ct_archive,
    errors,
    issues,
    program,
    put_back,
    report_data,
    snapshot,
    table,
    voxels,
)

import amos_dask
from amos_dask.datasets import find_definition
from amos_dask.errors import DatasetError

CT_ORG = {
    0: "background",
    1: "liver",
    2: "bladder",
    3: "lungs",
    4: "kidneys",
    5: "bone",
    6: "brain",
}
SPLEEN = {0: "background", 1: "spleen"}
AREA, KERNEL, HALF_EDGE, THRESHOLD = 40.0, (3, 3), 2, 100.0
DENOISE: dict[str, Any] = {
    "kernel_size": KERNEL,
    "filter_halfedge": HALF_EDGE,
    "region_area_thresh": AREA,
}


@dataclass(frozen=True)
class Finished:
    """A dataset after a run."""

    dataset: str
    name: str
    group: str
    manifest: str
    labels: dict[int, str]
    archive: OtherArchive
    root: Path
    result: amos_dask.RunResult
    known: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    def folder(self, sample: OtherSample) -> Path:
        return (
            self.root / "grouped" / self.group / sample.subset / "UND" / f"{sample.sample_id}_UND"
        )

    def mask(self, sample: OtherSample) -> Path:
        return self.folder(sample) / f"{sample.sample_id}_mask.nii.gz"

    @property
    def masked(self) -> list[OtherSample]:
        return [sample for sample in self.archive.samples if sample.mask_name]


@pytest.fixture(scope="module", params=["ct-org", "decathlon"])
def finished(
    request: pytest.FixtureRequest, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder = tmp_path_factory.mktemp(request.param)
    is_ct_org = request.param == "ct-org"
    archive = write_ct_org(folder) if is_ct_org else write_decathlon(folder)
    root = folder / "root"
    result = amos_dask.run(
        root, archive.path, dataset=request.param, cluster=client, progress="none", **DENOISE
    )
    names = ("CT-ORG", "CTORG-CT", "dataset_manifest_ctorg_ct.xlsx", CT_ORG)
    if not is_ct_org:
        names = ("Spleen", "SPLEEN-CT", "dataset_manifest_spleen_ct.xlsx", SPLEEN)
    return Finished(request.param, *names, archive, root, result)


def raw_mask(finished: Finished, sample: OtherSample) -> NDArray[np.uint8]:
    return np.asarray(voxels(finished.archive.path / sample.mask_name)).astype(np.uint8)


def spacing(finished: Finished, sample: OtherSample) -> tuple[float, float, float]:
    header = nib.load(finished.folder(sample) / f"{sample.sample_id}_volume.nii.gz").header
    x, y, z = (float(size) for size in header.get_zooms())
    return x, y, z


def denoised(finished: Finished, sample: OtherSample) -> NDArray[np.uint8]:
    """Return the mask that the oracle makes, which takes longer than the run."""
    known, name = finished.known, sample.sample_id
    if name not in known:
        mask, size = raw_mask(finished, sample), spacing(finished, sample)
        known[name] = oracle.denoise(mask, size, AREA, KERNEL, HALF_EDGE, finished.labels)
    return known[name]


# ---------------------------------------------------------------- what run writes


def test_nothing_fails_and_the_sample_folders_are_there(finished: Finished) -> None:
    assert finished.result.exit_code == amos_dask.ExitCode.DONE
    assert list(finished.result.dataset_manifest["ID"]) == [
        sample.sample_id for sample in finished.archive.samples
    ]
    assert all(finished.folder(sample).is_dir() for sample in finished.archive.samples)


def test_volumes_are_float32_on_their_own_geometry(finished: Finished) -> None:
    for sample in finished.archive.samples:
        theirs = nib.load(finished.archive.path / sample.image)
        ours = nib.load(finished.folder(sample) / f"{sample.sample_id}_volume.nii.gz")
        assert ours.get_data_dtype() == np.float32
        np.testing.assert_array_equal(ours.dataobj, np.asarray(theirs.dataobj, np.float32))
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)


def test_masks_are_denoised_bit_for_bit_and_take_their_volumes_geometry(finished: Finished) -> None:
    n_changed = 0
    for sample in finished.masked:
        mask = nib.load(finished.mask(sample))
        volume = nib.load(finished.folder(sample) / f"{sample.sample_id}_volume.nii.gz")
        expected = denoised(finished, sample)
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)
        np.testing.assert_array_equal(mask.affine, volume.affine)
        n_changed += int(np.count_nonzero(expected != raw_mask(finished, sample)))
    assert n_changed == finished.result.n_changed_voxels > 0


def test_there_is_a_binary_mask_for_each_label_of_the_dataset(finished: Finished) -> None:
    for sample in finished.masked:
        expected = denoised(finished, sample)
        names = {
            f"{sample.sample_id}_mask_{label:02d}_{name}.nii.gz": label
            for label, name in finished.labels.items()
        }
        assert {p.name for p in finished.folder(sample).glob("*_mask_*")} == set(names)
        for name, label in names.items():
            np.testing.assert_array_equal(
                voxels(finished.folder(sample) / name), oracle.binary_mask(expected, label)
            )


def test_label_15_has_no_meaning_of_its_own(finished: Finished) -> None:
    kept = (finished.root / "descriptor" / "label_map.yaml").read_text(encoding="utf-8")
    assert "prostate" not in kept
    assert [line.partition(": ")[2] for line in kept.splitlines()] == list(finished.labels.values())


def test_regions_before_and_after_are_the_oracles(finished: Finished) -> None:
    for moment, mask_of in (("", raw_mask), ("_after_modification", denoised)):
        path = finished.root / f"descriptor/small_connected_region_100{moment}_manifest.xlsx"
        rows = table(path)
        assert list(rows) == [sample.sample_id for sample in finished.masked]
        for sample in finished.masked:
            mask = mask_of(finished, sample)
            found = oracle.small_regions(
                mask, spacing(finished, sample), THRESHOLD, finished.labels
            )
            for label, name in finished.labels.items():
                cell = oracle.region_cell(found[label]) or None
                assert rows[sample.sample_id][f"mask_{label:02d}_{name}"] == cell


def test_manifests_have_the_dataset_s_names(finished: Finished) -> None:
    assert (finished.root / "grouped" / finished.group / finished.manifest).is_file()
    rows = table(finished.root / "grouped" / "dataset_manifest.xlsx")
    for sample in finished.archive.samples:
        row = rows[sample.sample_id]
        assert (row["seq"], row["subset"]) == (sample.sample_id[-4:], sample.subset)
        assert (row["sex"], row["manufacturer_model_name"]) == ("UND", "UND")
        assert (row["mask"] is None) == (not sample.mask_name)
    masks = [f"mask_{label:02d}_{name}" for label, name in finished.labels.items()]
    header = next(load_workbook(finished.root / "grouped/dataset_manifest.xlsx")["Manifest"].values)
    assert [name for name in header if str(name).startswith("mask_") and name != "mask_dtype"] == [
        *masks,
        *(f"{name}_existence" for name in masks),
    ]
    archive = finished.result.archive_manifest
    assert set(archive["file_path"]) == {
        name for s in finished.archive.samples for name in (s.image, s.mask_name) if name
    }


def test_the_official_split_is_the_dataset_s(finished: Finished) -> None:
    folder = finished.root / "grouped" / "splits" / "split01_standard"
    assert {p.name for p in folder.iterdir()} == {
        "split01_standard_train.xlsx",
        "split01_standard_test.xlsx",
    }
    for subset in ("train", "test"):
        ids = list(table(folder / f"split01_standard_{subset}.xlsx"))
        assert ids == [s.sample_id for s in finished.archive.samples if s.subset == subset]


def test_issues_are_those_that_were_planted(finished: Finished) -> None:
    found = sorted((i["code"], i["sample"]) for i in issues(finished.root))
    expected = [("junk_ignored", "")]
    expected += [("subset_counts", "")] if finished.dataset == "ct-org" else []
    expected += [
        ("affine_repaired", sample.sample_id)
        for sample in finished.masked
        if sample.mask_affine in ("shifted", "flipped")
    ]
    expected += [
        ("label_vanished", sample.sample_id)
        for sample in finished.masked
        for _ in {*raw_mask(finished, sample).flat} - {*denoised(finished, sample).flat}
    ]
    assert found == sorted(expected)


def test_statistics_are_numpys_on_the_pooled_voxels(finished: Finished) -> None:
    told = json.loads((finished.root / "descriptor" / "statistics.json").read_text())
    label = 1
    pooled = np.concatenate(
        [
            voxels(finished.folder(s) / f"{s.sample_id}_volume.nii.gz")[denoised(finished, s) == 1]
            for s in finished.masked
        ]
    ).astype(np.float64)
    (row,) = [
        row
        for row in told["intensities"]
        if row["label_index"] == label and row["grouped_by"] == "modality"
    ]
    assert (row["min"], row["max"], row["n_voxels"]) == (pooled.min(), pooled.max(), pooled.size)
    assert row["median"] == np.median(pooled)


def test_the_report_shows_what_changed(finished: Finished) -> None:
    told = report_data(finished.root / "descriptor" / "report.html")
    content = told["content"]
    assert content["dataset"] == finished.name
    assert {one["index"]: one["name"] for one in content["labels"]} == finished.labels
    shown = {one["id"]: one for one in content["samples"]}
    assert list(shown) == [sample.sample_id for sample in finished.archive.samples]
    for sample in finished.masked:
        changes = oracle.label_changes(raw_mask(finished, sample), denoised(finished, sample))
        one = shown[sample.sample_id]
        assert one["changes"] == [list(change) for change in changes]
        assert (one["n_pictures"] > 0) == bool(changes)
        assert one["modality"] == "ct"
    assert sum(name.startswith("pictures-") for name in told) > 1


# ---------------------------------------------------------------- again, and in steps


def test_a_rerun_goes_by_the_kept_definition_and_does_nothing(
    finished: Finished, client: Client
) -> None:
    before = contents(finished.root)
    kept = finished.root / "descriptor" / "dataset.yaml"
    assert kept.read_text(encoding="utf-8").splitlines()[0] == f"name: {finished.name}"
    again = amos_dask.run(
        finished.root, finished.archive.path, cluster=client, progress="none", **DENOISE
    )
    assert again.reasons == {"complete": len(finished.archive.samples)}
    assert_same(before, contents(finished.root))


def test_the_same_dataset_may_be_named_again_another_may_not(
    finished: Finished, client: Client
) -> None:
    before = snapshot(finished.root / "descriptor")
    plan = amos_dask.plan_run(finished.root, finished.archive.path, dataset=finished.dataset)
    assert len(plan.samples) == len(finished.archive.samples)
    message = f"holds {finished.name}, and AMOS22 was asked for"
    with pytest.raises(DatasetError, match=message):
        amos_dask.run(finished.root, finished.archive.path, dataset="amos22", cluster=client)
    said = program("run", finished.root, "--archive", finished.archive.path, "--dataset", "amos22",
                   exit_code=1)  # fmt: skip
    assert message in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert snapshot(finished.root / "descriptor") == before


@pytest.mark.parametrize("finished", ["ct-org"], indirect=True)
def test_the_single_commands_give_what_run_gives(
    finished: Finished, client: Client, cluster_address: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    grouped, descriptor = root / "grouped", root / "descriptor"
    group = grouped / finished.group
    common = {"cluster": client, "progress": "none"}
    archive, listed = finished.archive.path, descriptor / "archive_manifest.xlsx"
    amos_dask.archive_manifest(archive, listed, dataset=finished.dataset, **common)
    amos_dask.confirm_pairs(archive, group, listed, modality="ct", **common)
    before = descriptor / "small_connected_region_100_manifest.xlsx"
    after = descriptor / "small_connected_region_100_after_modification_manifest.xlsx"
    amos_dask.small_regions(grouped, before, region_volume_thresh=THRESHOLD, **common)
    amos_dask.denoise(grouped, grouped, **DENOISE, **common)
    amos_dask.binary_masks(grouped, **common)
    amos_dask.small_regions(grouped, after, region_volume_thresh=THRESHOLD, **common)
    for place, below in ((grouped, "dataset_manifest.xlsx"), (group, finished.manifest)):
        manifest = place / below
        amos_dask.dataset_manifest(place, manifest, **common)
        amos_dask.make_split(manifest)
        amos_dask.index_manifests(
            manifest, place / "splits" / "split01_standard", subsets=[["train"], ["test"]]
        )
    amos_dask.stats(root, **common)
    program("leaks", root, "--cluster", cluster_address, "--quiet")
    program("report", root, "--cluster", cluster_address, "--quiet")
    assert_same(contents(root), contents(finished.root))


def test_splitting_prostate_and_uterus_is_refused(finished: Finished) -> None:
    with pytest.raises(amos_dask.AmosDaskError, match=f"{finished.name} has no label of prostate"):
        amos_dask.split_prostate_uterus(finished.root / "grouped")
    with pytest.raises(amos_dask.AmosDaskError, match="--merge_prostate_uterus is for AMOS22"):
        amos_dask.export_monai(
            finished.root, finished.root / "x.json", merge_prostate_uterus=True, progress="none"
        )


@pytest.fixture
def copied(finished: Finished) -> Path:
    return put_back(finished.root, finished.root.with_name("copied"))


def test_what_was_denoised_otherwise_is_complete_for_a_run_that_asks_the_same(
    finished: Finished, copied: Path, client: Client
) -> None:
    grouped, otherwise = copied / "grouped", {**DENOISE, "filter_halfedge": 1}
    amos_dask.denoise(grouped, grouped, cluster=client, progress="none", **otherwise)
    again = amos_dask.run(copied, finished.archive.path, cluster=client, **QUIET, **otherwise)
    assert again.reasons == {"complete": len(finished.archive.samples)}


def test_restore_gives_the_archive_s_labels_back_and_exclude_keeps_them(
    finished: Finished, copied: Path, client: Client, tmp_path: Path
) -> None:
    one, *others = finished.masked
    done = amos_dask.restore(copied / "grouped", cluster=client, progress="none")
    assert done.exit_code == amos_dask.ExitCode.DONE
    for sample in finished.masked:
        mask = copied / finished.mask(sample).relative_to(finished.root)
        np.testing.assert_array_equal(voxels(mask), raw_mask(finished, sample))
    rows = tmp_path / "exclude.csv"
    rows.write_text(f"sample,label\n{one.sample_id},\n")
    amos_dask.run(copied, finished.archive.path, exclude=rows, cluster=client, **QUIET, **DENOISE)
    kept = voxels(copied / finished.mask(one).relative_to(finished.root))
    np.testing.assert_array_equal(kept, raw_mask(finished, one))
    for sample in others:
        mask = copied / finished.mask(sample).relative_to(finished.root)
        np.testing.assert_array_equal(voxels(mask), voxels(finished.mask(sample)))
    rows.write_text("sample,label\namos_0001,\n")
    with pytest.raises(amos_dask.AmosDaskError, match="'amos_0001' is no sample such as"):
        amos_dask.run(copied, finished.archive.path, exclude=rows, cluster=client)


def test_verify_finds_both_sound_and_sees_what_is_not(
    finished: Finished, copied: Path, cluster_address: str
) -> None:
    here = ("--cluster", cluster_address, "--quiet")
    program("verify", finished.root, *here)
    program("verify", finished.archive.path, "--dataset", finished.dataset, "--full", *here)
    lost = copied / finished.mask(finished.masked[0]).relative_to(finished.root)
    lost.unlink()
    said = program("verify", copied, *here, exit_code=3)
    assert "missing_output" in said.output
    how = ("--kernel_size", *KERNEL, "--filter_halfedge", HALF_EDGE, "--region_area_thresh", AREA)
    program("run", copied, "--archive", finished.archive.path, *map(str, how), *here)
    program("verify", copied, *here)


def test_md5_is_compared_only_where_there_is_a_published_zip(finished: Finished) -> None:
    said = program("verify", finished.archive.path, "--md5", "--dataset", "ct-org", exit_code=1)
    assert "of CT-ORG no file with an MD5 is known" in said.stderr


def test_ids_are_those_of_the_dataset(finished: Finished) -> None:
    sample = finished.archive.samples[1]
    short = f"{sample.sample_id.rpartition('_')[0]}_{int(sample.sample_id[-4:])}"
    for chosen in (sample.sample_id, short, str(int(sample.sample_id[-4:]))):
        plan = amos_dask.plan_run(
            finished.root, finished.archive.path, selection=amos_dask.Selection([chosen])
        )
        assert list(plan.samples["ID"]) == [sample.sample_id]
    for wrong in (f"amos_{sample.sample_id[-4:]}", "4444"):
        with pytest.raises(amos_dask.AmosDaskError, match="there is no sample"):
            amos_dask.plan_run(
                finished.root, finished.archive.path, selection=amos_dask.Selection([wrong])
            )


# ---------------------------------------------------------------- what reads the result


def test_the_loader_reads_root_and_archive_alike(finished: Finished) -> None:
    ours = amos_dask.AMOS(finished.root)
    theirs = amos_dask.AMOS(finished.archive.path, dataset=finished.dataset)
    assert ours.ids == theirs.ids == [s.sample_id[-4:] for s in finished.archive.samples]
    for sample in finished.archive.samples:
        assert (
            ours.image_modality(sample.sample_id) == "CT" == theirs.image_modality(sample.sample_id)
        )
        assert ours.subset(sample.sample_id) == theirs.subset(sample.sample_id) == sample.subset
        np.testing.assert_array_equal(ours.image(sample.sample_id), theirs.image(sample.sample_id))
        assert ours.sex(sample.sample_id) is None
        if sample.mask_name:
            np.testing.assert_array_equal(
                ours.mask(sample.sample_id), voxels(finished.mask(sample))
            )


def test_splits_of_ones_own_and_exports(
    finished: Finished, copied: Path, client: Client, tmp_path: Path
) -> None:
    manifest = copied / "grouped" / "dataset_manifest.xlsx"
    split = amos_dask.make_split(manifest, kind="kfold", folds=2, stratify=["modality"])
    assert split.frame is not None
    assert int(split.frame["split02_kfold2"].notna().sum()) == len(finished.masked)
    with pytest.raises(amos_dask.AmosDaskError, match="give --dataset_id"):
        amos_dask.export_nnunet(finished.root, tmp_path, cluster=client, progress="none")
    amos_dask.export_nnunet(finished.root, tmp_path, dataset_id=9, cluster=client, progress="none")
    name = finished.name.replace("-", "")
    dataset = tmp_path / f"Dataset009_{name}"
    described = json.loads((dataset / "dataset.json").read_text())
    assert described["labels"] == {name: label for label, name in finished.labels.items()}
    assert described["channel_names"] == {"0": "CT"}
    train = [s for s in finished.archive.samples if s.subset == "train"]
    assert {p.name for p in (dataset / "imagesTr").iterdir()} == {
        f"{s.sample_id}_0000.nii.gz" for s in train
    }
    target = tmp_path / "list.json"
    amos_dask.export_monai(finished.root, target, cluster=client, progress="none")
    listed = json.loads(target.read_text())
    assert (listed["name"], len(listed["training"])) == (finished.name, len(train))


# ---------------------------------------------------------------- one of them


def test_half_labels_and_several_channels_are_issues_of_their_samples(
    client: Client, tmp_path: Path
) -> None:
    ct_org = write_ct_org(tmp_path, defects=True)
    heart = write_decathlon(tmp_path, "heart", defects=True)
    amos_dask.run(tmp_path / "a", ct_org.path, dataset="ct-org", cluster=client, **QUIET)
    assert errors(tmp_path / "a") == {("ctorg_0139", "bad_mask_values")}
    done = amos_dask.run(tmp_path / "b", heart.path, dataset="decathlon", cluster=client, **QUIET)
    assert done.exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    assert errors(tmp_path / "b") == {("la_0003", "unreadable_volume")}
    messages = [i["message"] for i in issues(tmp_path / "b") if i["severity"] == "error"]
    assert messages == ["has 4 axes [44, 48, 14, 2] where three are expected"]
    assert (tmp_path / "b/grouped/LA-MRI/dataset_manifest_la_mri.xlsx").is_file()


def test_a_decathlon_s_label_names_become_names_of_files(client: Client, tmp_path: Path) -> None:
    colon = write_decathlon(tmp_path, "colon")
    root = tmp_path / "root"
    amos_dask.run(root, colon.path, dataset="decathlon", cluster=client, **QUIET)
    names = {p.name for p in root.rglob("colon_0001_mask_*")}
    assert names == {
        f"colon_0001_mask_{label}.nii.gz"
        for label in ("00_background", "01_Cancer", "02_Stool_(left)")
    }


def test_a_definition_of_ones_own_is_kept_and_gone_by(
    client: Client, cluster_address: str, tmp_path: Path
) -> None:
    archive = write_ct_org(tmp_path)
    own = tmp_path / "own.yaml"
    own.write_text(
        "name: Ours\nprefix: ours\nvolumes: volume-{number}\nmasks: labels-{number}\n"
        "subsets: {train: 0-100, val: 101-999}\nwith_masks: [train]\nmodality: ct\n"
        "labels: {0: background, 1: liver, 2: b, 3: c, 4: d, 5: e}\n"
    )
    root = tmp_path / "root"
    words = ("--archive", archive.path, "--dataset", own, "--cluster", cluster_address)
    program("run", root, *words, "--quiet", *BARE)
    own.unlink()
    ids = [f"ours_{sample.sample_id[-4:]}" for sample in archive.samples]
    assert list(table(root / "grouped" / "dataset_manifest.xlsx")) == ids
    again = amos_dask.run(root, archive.path, cluster=client, **QUIET)
    assert again.reasons == {"complete": len(ids)}


def test_a_metadata_csv_of_ones_own_tells_of_the_patients(client: Client, tmp_path: Path) -> None:
    archive = write_ct_org(tmp_path)
    definition = find_definition("ct-org").to_yaml()
    own = tmp_path / "own.yaml"
    own.write_text(
        f"{definition}scanners: {{ct: [Ours]}}\n"
        "metadata: {files: about*.csv, id: case, columns: {sex: Sex, site: City}}\n"
    )
    root = tmp_path / "root"
    run = QUIET | {"dataset": own, "cluster": client}
    amos_dask.run(root, archive.path, **run)
    codes = {i["code"] for i in issues(root)}
    assert "metadata_missing" in codes
    (archive.path / "about us.csv").write_text("case,Sex,City\nctorg_7,F,X\n20,M,Y\n21,F,Z\n")
    done = amos_dask.run(root, archive.path, **run)
    assert done.reasons == {"changed": 3, "complete": 3}
    rows = table(root / "grouped" / "dataset_manifest.xlsx")
    assert [
        (rows[f"ctorg_{n:04d}"]["sex"], rows[f"ctorg_{n:04d}"]["site"]) for n in (0, 7, 20)
    ] == [
        ("UND", "UND"),
        ("F", "X"),
        ("M", "Y"),
    ]
    assert (root / "grouped/CTORG-CT/test/UND/ctorg_0007_F/ctorg_0007_mask.nii.gz").is_file()
    assert {i["code"] for i in issues(root)} >= {"metadata_row_missing", "unknown_scanner"}


@pytest.mark.parametrize("finished", ["decathlon"], indirect=True)
def test_a_zip_of_a_task_is_read_in_place(
    finished: Finished, client: Client, tmp_path: Path
) -> None:
    task = finished.archive.path
    zipped = shutil.make_archive(str(tmp_path / "Task09"), "zip", task.parent, task.name)
    how: dict[str, Any] = {"dataset": "decathlon", "cluster": client, **QUIET, **DENOISE}
    amos_dask.run(tmp_path / "root", zipped, **how)
    assert_same(contents(tmp_path / "root", "grouped"), contents(finished.root, "grouped"))


def test_a_kept_definition_that_is_damaged_is_said(tmp_path: Path) -> None:
    kept = tmp_path / "root" / "descriptor" / "dataset.yaml"
    kept.parent.mkdir(parents=True)
    kept.write_text("name: [\n")
    (tmp_path / "archive").mkdir()
    words = ("run", tmp_path / "root", "--archive", tmp_path / "archive")
    said = program(*words, exit_code=1).stderr
    assert "dataset.yaml: not a readable dataset definition" in said
    kept.write_text(find_definition("decathlon").to_yaml())
    said = program(*words, exit_code=1).stderr
    assert "name is left to dataset.json; give such a file with --dataset" in said


def test_nothing_of_amos22_is_a_file_of_another_dataset(tmp_path: Path) -> None:
    archive = write_decathlon(tmp_path)
    said = program("run", tmp_path / "root", "--archive", archive.path, exit_code=1).stderr
    assert "no scans found; expected files such as imagesTr/amos_0001.nii.gz" in said
    assert not (tmp_path / "root" / "descriptor").exists()


def test_a_root_dir_of_amos22_is_none_of_another_dataset(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "AMOS22"
    amos_dask.run(root, ct_archive(tmp_path, 1), cluster=client, **QUIET)
    assert not (root / "descriptor" / "dataset.yaml").exists()
    with pytest.raises(DatasetError, match="holds AMOS22, and CT-ORG was asked for"):
        amos_dask.plan_run(root, write_ct_org(tmp_path).path, dataset="ct-org")


@pytest.mark.integration  # as in tests/datasets/test_phantoms.py
def test_phantoms_are_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    first = snapshot(write_ct_org(tmp_path / "1").path)
    assert first == snapshot(write_ct_org(tmp_path / "2").path)
    assert first != snapshot(write_ct_org(tmp_path / "3", seed=1).path)
