"""Exports of a processed ROOT_DIR, file by file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roots import contents, program, sample_dir, snapshot, truncate, voxels

import amos_dask
from amos_dask import (
    AmosDaskError,
    ClusterOptions,
    CommandResult,
    ExitCode,
    Selection,
    denoise,
    export_monai,
    export_nnunet,
    verify,
)
from amos_dask.archive.recognise import EXPORT_MARK as MARKER
from amos_dask.datasets import AMOS22
from amos_dask.errors import ClusterError
from amos_dask.file_refs import file_ref
from amos_dask.issues import make_issue
from amos_dask.nifti import ImageInfo, read_info, write_mask
from amos_dask.phantom import Archive
from amos_dask.records import Step
from amos_dask.root.layout import Layout
from amos_dask.root.working import hold_lock
from amos_dask.tables.issue_files import IssueLog

Export = Callable[..., CommandResult]
CT, MR = Selection(modality="ct"), Selection(modality="mri")


@pytest.fixture
def nnunet(cluster_address: str) -> Export:
    def export(root: Path, directory: Path, **options: Any) -> CommandResult:
        return export_nnunet(root, directory, cluster=cluster_address, progress="none", **options)

    return export


@pytest.fixture
def monai(cluster_address: str) -> Export:
    def export(root: Path, file: Path, **options: Any) -> CommandResult:
        return export_monai(root, file, cluster=cluster_address, progress="none", **options)

    return export


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def header(path: Path) -> ImageInfo:
    return read_info(file_ref(path, path.name))


def mask_of(root: Path, sample_id: str) -> Path:
    seq = sample_id.removeprefix("amos_")
    return sample_dir(root / "grouped", seq) / f"{sample_id}_mask.nii.gz"


def volume_of(root: Path, sample_id: str) -> Path:
    seq = sample_id.removeprefix("amos_")
    return sample_dir(root / "grouped", seq) / f"{sample_id}_volume.nii.gz"


def is_copy(path: Path, source: Path) -> bool:
    """Return whether a file holds what another does, and neither is written with the other."""
    is_own = not (path.is_symlink() or path.samefile(source) or path.stat().st_nlink > 1)
    return is_own and path.read_bytes() == source.read_bytes()


def ids(phantom: Archive, *subsets: str, modality: str = "") -> list[str]:
    return [
        sample.sample_id
        for sample in phantom.samples
        if sample.subset in subsets and modality in ("", sample.modality)
    ]


# ---------------------------------------------------------------- nnU-Net


def test_the_tree_of_nnunet(
    phantom: Archive, processed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    before = contents(processed_root)
    result = nnunet(processed_root, tmp_path / "nnUNet_raw")
    dataset = tmp_path / "nnUNet_raw" / "Dataset622_AMOS22"
    labelled, test = ids(phantom, "train", "val"), ids(phantom, "test")
    assert sorted(snapshot(dataset)) == sorted(
        [
            *("dataset.json", "splits_final.json", MARKER),
            *(f"imagesTr/{i}_0000.nii.gz" for i in labelled),
            *(f"labelsTr/{i}.nii.gz" for i in labelled),
            *(f"imagesTs/{i}_0000.nii.gz" for i in test),
        ]
    )
    for i in labelled:
        assert is_copy(dataset / f"imagesTr/{i}_0000.nii.gz", volume_of(processed_root, i))
        assert is_copy(dataset / f"labelsTr/{i}.nii.gz", mask_of(processed_root, i))
    for i in test:
        assert is_copy(dataset / f"imagesTs/{i}_0000.nii.gz", volume_of(processed_root, i))
    assert read(dataset / "splits_final.json") == [
        {"train": ids(phantom, "train"), "val": ids(phantom, "val")}
    ]
    described = read(dataset / "dataset.json")
    assert described["channel_names"] == {"0": "CT_or_MR"}
    assert described["labels"] == {name: label for label, name in AMOS22.label_map.names().items()}
    assert described["numTraining"] == len(labelled)
    assert described["file_ending"] == ".nii.gz"
    assert described["amos_dask"]["label_values"]["ct"]["16"] == 16
    assert [issue.code for issue in result.issues] == ["only_fold"]
    assert (result.exit_code, result.outputs) == (ExitCode.DONE, (dataset,))
    size = sum(p.stat().st_size for p in dataset.rglob("*.nii.gz")) / 1e9
    counted = "5 training, 3 validation and 4 test scans"
    assert result.summary.startswith(f"{counted}; 20 files, ")
    assert result.summary.endswith(f"; 20 files, {size:.2f} GB, written")
    again = nnunet(processed_root, tmp_path / "nnUNet_raw").summary
    assert again.startswith(counted)
    assert "written" not in again
    assert result.frame is not None
    assert list(result.frame["ID"]) == [sample.sample_id for sample in phantom.samples]
    assert contents(processed_root) == before


@pytest.mark.parametrize(
    ("selection", "name", "channel", "modality"),
    [(CT, "Dataset623_AMOS22CT", "CT", "ct"), (MR, "Dataset624_AMOS22MR", "MR", "mri")],
)
def test_one_modality_alone(
    selection: Selection,
    name: str,
    channel: str,
    modality: str,
    phantom: Archive,
    processed_root: Path,
    nnunet: Export,
    tmp_path: Path,
) -> None:
    nnunet(processed_root, tmp_path, selection=selection)
    dataset = tmp_path / name
    assert read(dataset / "dataset.json")["channel_names"] == {"0": channel}
    found = sorted(path.name for path in (dataset / "imagesTr").iterdir())
    labelled = ids(phantom, "train", "val", modality=modality)
    assert found == [f"{i}_0000.nii.gz" for i in labelled]
    (split,) = read(dataset / "splits_final.json")
    assert split == {
        "train": ids(phantom, "train", modality=modality),
        "val": ids(phantom, "val", modality=modality),
    }


def test_merged_masks_are_written_and_unchanged_ones_copied(
    phantom: Archive, processed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    nnunet(processed_root, tmp_path, merge_prostate_uterus=True)
    dataset = tmp_path / "Dataset622_AMOS22"
    labels = read(dataset / "dataset.json")["labels"]
    assert list(labels.values()) == list(range(16))
    assert labels["prostate/uterus"] == 15
    n_written = 0
    for i in ids(phantom, "train", "val"):
        theirs, ours = dataset / f"labelsTr/{i}.nii.gz", mask_of(processed_root, i)
        expected = voxels(ours)
        changes = 16 in expected
        np.testing.assert_array_equal(voxels(theirs), np.where(expected == 16, 15, expected))
        assert is_copy(theirs, ours) is not changes
        n_written += changes
        infos = [
            read_info(file_ref(path, path.name)) for path in (theirs, volume_of(processed_root, i))
        ]
        assert infos[0].shape == infos[1].shape
        np.testing.assert_array_equal(infos[0].affine, infos[1].affine)
        assert infos[0].dtype == "uint8"
    assert n_written >= 2
    assert read(dataset / "dataset.json")["amos_dask"]["label_values"]["ct"]["16"] == 15


def test_mr_without_its_rare_labels(
    phantom: Archive, processed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    nnunet(processed_root, tmp_path, mr_without_14_16=True, selection=MR)
    nnunet(processed_root, tmp_path, mr_without_14_16=True)
    labels = read(tmp_path / "Dataset624_AMOS22MR" / "dataset.json")["labels"]
    assert list(labels.values()) == list(range(14))
    assert len(read(tmp_path / "Dataset622_AMOS22" / "dataset.json")["labels"]) == 17
    n_changed = 0
    for i in ids(phantom, "train", "val", modality="mri"):
        expected = voxels(mask_of(processed_root, i))
        n_changed += bool((expected > 13).any())
        expected[expected > 13] = 0
        for name in ("Dataset624_AMOS22MR", "Dataset622_AMOS22"):
            exported = tmp_path / name / f"labelsTr/{i}.nii.gz"
            np.testing.assert_array_equal(voxels(exported), expected)
    assert n_changed
    for i in ids(phantom, "train", "val", modality="ct"):
        exported = tmp_path / f"Dataset622_AMOS22/labelsTr/{i}.nii.gz"
        assert is_copy(exported, mask_of(processed_root, i))


def test_links(processed_root: Path, nnunet: Export, tmp_path: Path) -> None:
    result = nnunet(processed_root, tmp_path, link="symbolic")
    assert result.summary.endswith("links: what is written to one is written to ROOT_DIR")
    images = sorted((tmp_path / "Dataset622_AMOS22" / "imagesTr").iterdir())
    assert images
    assert all(path.is_symlink() for path in images)
    assert images[0].samefile(volume_of(processed_root, images[0].name[:9]))


@pytest.mark.parametrize("options", [{}, {"merge_prostate_uterus": True}, {"link": "symbolic"}])
def test_the_same_again_changes_nothing(
    options: dict[str, Any], processed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    nnunet(processed_root, tmp_path, **options)
    before = snapshot(tmp_path)
    nnunet(processed_root, tmp_path, **options)
    assert snapshot(tmp_path) == before


def test_other_wishes_replace_the_earlier_export(
    changed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    before = contents(changed_root)
    nnunet(changed_root, tmp_path / "raw")
    nnunet(changed_root, tmp_path / "raw", merge_prostate_uterus=True)
    nnunet(changed_root, tmp_path / "other", merge_prostate_uterus=True)
    assert snapshot(tmp_path / "raw") == snapshot(tmp_path / "other")
    assert contents(changed_root) == before  # no mask was changed through its link


def test_fewer_samples_leave_no_others_behind(
    processed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    nnunet(processed_root, tmp_path, selection=CT)
    dataset = tmp_path / "Dataset623_AMOS22CT"
    (dataset / "imagesTr" / "mine_0000.nii.gz").write_bytes(b"mine")
    chosen = Selection(ids=["1"], modality="ct")
    nnunet(processed_root, tmp_path, selection=chosen)
    left = {name for name in snapshot(dataset) if "/" in name}
    assert left == {
        "imagesTr/amos_0001_0000.nii.gz",
        "imagesTr/mine_0000.nii.gz",
        "labelsTr/amos_0001.nii.gz",
    }
    assert not (dataset / "splits_final.json").exists()  # nothing to validate on


def test_another_folder_or_number_is_left_alone(
    processed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    theirs = tmp_path / "Dataset622_AMOS22"
    theirs.mkdir()
    (theirs / "dataset.json").write_text("{}")
    with pytest.raises(AmosDaskError, match="no export of amos-dask"):
        nnunet(processed_root, tmp_path)
    assert [path.name for path in theirs.iterdir()] == ["dataset.json"]
    with pytest.raises(AmosDaskError, match="has the number 622 already; give --dataset_id"):
        nnunet(processed_root, tmp_path, selection=CT, dataset_id=622)
    nnunet(processed_root, tmp_path, dataset_id=7)
    assert (tmp_path / "Dataset007_AMOS22" / "dataset.json").is_file()
    with pytest.raises(AmosDaskError, match="from 1 to 999"):
        nnunet(processed_root, tmp_path, dataset_id=1000)


def test_without_a_cluster_an_earlier_export_stays(
    processed_root: Path,
    nnunet: Export,
    monai: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise ClusterError("away")

    nnunet(processed_root, tmp_path / "raw")
    monai(processed_root, tmp_path / "amos.json")
    before = snapshot(tmp_path)
    monkeypatch.setattr("amos_dask.engine.session.connect", refuse)
    for export, where in ((export_nnunet, "raw"), (export_monai, "amos.json")):
        with pytest.raises(ClusterError, match="away"):
            export(processed_root, tmp_path / where, cluster="tcp://127.0.0.1:1", progress="none")
    assert snapshot(tmp_path) == before


def test_verify_finds_nothing_wrong_after_exports(
    changed_root: Path, nnunet: Export, monai: Export, cluster_address: str
) -> None:
    nnunet(changed_root, changed_root / "nnUNet_raw", merge_prostate_uterus=True)
    monai(changed_root, changed_root / "monai.json", merge_prostate_uterus=True)
    assert verify(changed_root, cluster=cluster_address, progress="none").issues == ()


# ---------------------------------------------------------------- MONAI


def test_the_datalist_of_monai(
    phantom: Archive, processed_root: Path, monai: Export, tmp_path: Path
) -> None:
    file = tmp_path / "lists" / "amos.json"
    result = monai(processed_root, file)
    listed = read(file)
    subset_of = {sample.sample_id: sample.subset for sample in phantom.samples}
    by_id = {Path(e["image"]).name[:9]: e for e in (*listed["training"], *listed["testing"])}
    assert sorted(by_id) == sorted(subset_of)
    for i, entry in by_id.items():
        assert (file.parent / entry["image"]).samefile(volume_of(processed_root, i))
        assert not Path(entry["image"]).is_absolute()
        assert entry.get("fold") == {"val": 0, "train": 1, "test": None}[subset_of[i]]
        if subset_of[i] == "test":
            assert list(entry) == ["image"]
        else:
            assert (file.parent / entry["label"]).samefile(mask_of(processed_root, i))
    assert (listed["numTraining"], listed["numTest"]) == (8, 4)
    assert listed["labels"] == {
        str(label): name for label, name in AMOS22.label_map.names().items()
    }
    assert listed["modality"] == {"0": "CT_or_MR"}
    assert result.outputs == (file,)
    assert sorted(snapshot(file.parent)) == ["amos.json", f"amos_labels/{MARKER}"]


def test_monai_with_labels_merged_and_back(
    phantom: Archive, processed_root: Path, monai: Export, tmp_path: Path
) -> None:
    file, masks = tmp_path / "amos.json", tmp_path / "amos_labels"
    monai(processed_root, file)
    plain = file.read_bytes()
    monai(processed_root, file, merge_prostate_uterus=True, mr_without_14_16=True)
    listed = read(file)
    written = {path.name for path in masks.iterdir()} - {MARKER}
    for entry in listed["training"]:
        i = Path(entry["image"]).name[:9]
        expected = voxels(mask_of(processed_root, i))
        changed = expected.copy()
        changed[changed == 16] = 15
        if int(i[5:]) > 500:
            changed[changed > 13] = 0
        np.testing.assert_array_equal(voxels(tmp_path / entry["label"]), changed)
        assert (f"{i}.nii.gz" in written) is not np.array_equal(changed, expected)
    assert len(listed["labels"]) == 16
    again = snapshot(tmp_path)
    monai(processed_root, file, merge_prostate_uterus=True, mr_without_14_16=True)
    assert snapshot(tmp_path) == again
    monai(processed_root, file)
    assert file.read_bytes() == plain
    assert [path.name for path in masks.iterdir()] == [MARKER]


def test_a_file_or_folder_of_others_is_left_alone(
    processed_root: Path, monai: Export, tmp_path: Path
) -> None:
    for content in ("{}", "not json", "[1]"):
        (tmp_path / "amos.json").write_text(content)
        with pytest.raises(AmosDaskError, match="no export of amos-dask"):
            monai(processed_root, tmp_path / "amos.json")
        assert (tmp_path / "amos.json").read_text() == content
    masks = tmp_path / "list_labels"
    masks.mkdir()
    (masks / "amos_0001.nii.gz").write_bytes(b"mine")
    with pytest.raises(AmosDaskError, match="no export of amos-dask"):
        monai(processed_root, tmp_path / "list.json")
    assert (masks / "amos_0001.nii.gz").read_bytes() == b"mine"
    assert not (tmp_path / "list.json").exists()


# ---------------------------------------------------------------- samples that cannot be exported


def test_samples_that_cannot_be_used_are_left_out_and_named(
    changed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    truncate(mask_of(changed_root, "amos_0001"))
    volume_of(changed_root, "amos_0004").write_bytes(b"no gzip")
    mask_of(changed_root, "amos_0009").unlink()
    shutil.copy(mask_of(changed_root, "amos_0507"), mask_of(changed_root, "amos_0222"))
    layout = Layout(changed_root)
    log = IssueLog(layout.issue_log)
    log.replace(Step.CONFIRM_PAIRS, [make_issue("non_finite_voxels", "NaN", sample="amos_0600")])
    log.save()
    result = nnunet(changed_root, tmp_path)
    assert {(i.sample, i.code, i.severity) for i in result.issues if i.sample} == {
        ("amos_0001", "unreadable_mask", "error"),
        ("amos_0004", "unreadable_volume", "error"),
        ("amos_0009", "missing_mask", "warning"),
        ("amos_0222", "inconsistent", "error"),
        ("amos_0600", "non_finite_voxels", "error"),
    }
    assert result.exit_code == ExitCode.SAMPLES_FAILED
    assert "; 5 left out; 10 files" in result.summary
    dataset = tmp_path / "Dataset622_AMOS22"
    left = ["amos_0111", "amos_0507", "amos_0508"]
    assert sorted(path.name for path in (dataset / "labelsTr").iterdir()) == [
        f"{i}.nii.gz" for i in left
    ]
    assert read(dataset / "dataset.json")["numTraining"] == 3


def test_labels_that_the_map_lacks(changed_root: Path, nnunet: Export, tmp_path: Path) -> None:
    label_map = changed_root / "descriptor" / "label_map.yaml"
    lines = label_map.read_text().splitlines()
    label_map.write_text("\n".join(line for line in lines if not line.startswith("6:")))
    result = nnunet(changed_root, tmp_path)
    assert {issue.code for issue in result.issues} == {"unknown_label"}
    assert len(result.issues) == 8
    assert result.exit_code == ExitCode.SAMPLES_FAILED


def test_gaps_in_the_label_map_are_closed(
    changed_root: Path, nnunet: Export, tmp_path: Path
) -> None:
    label_map = changed_root / "descriptor" / "label_map.yaml"
    label_map.write_text(label_map.read_text() + "40: tumour\n")
    mask = mask_of(changed_root, "amos_0001")
    changed = voxels(mask).copy(order="F")
    changed[:2, :2, :2] = 40
    write_mask(mask, header(mask), changed)
    nnunet(changed_root, tmp_path)
    dataset = tmp_path / "Dataset622_AMOS22"
    described = read(dataset / "dataset.json")
    assert described["labels"]["tumour"] == 17
    assert described["amos_dask"]["label_values"]["ct"]["40"] == 17
    exported = voxels(dataset / "labelsTr" / "amos_0001.nii.gz")
    np.testing.assert_array_equal(exported, np.where(changed == 40, 17, changed))


def test_nothing_to_train_on(processed_root: Path, nnunet: Export, tmp_path: Path) -> None:
    with pytest.raises(AmosDaskError, match="no training or validation samples"):
        nnunet(processed_root, tmp_path, selection=Selection(subset="test"))
    with pytest.raises(AmosDaskError, match="no sample folders"):
        nnunet(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("export", "output"), [(export_nnunet, "raw"), (export_monai, "a.json")])
def test_nobody_writes_there_meanwhile(
    export: Export, output: str, changed_root: Path, tmp_path: Path, cluster_address: str
) -> None:
    said: list[str] = []

    def work_there(event: object) -> None:
        with pytest.raises(AmosDaskError) as refused, hold_lock(Layout(changed_root)):
            pytest.fail("the lock was taken")
        said.append(str(refused.value))

    export(changed_root, tmp_path / output, cluster=cluster_address, progress=work_there)
    assert said
    assert all("in use by a reader" in words for words in said)
    with hold_lock(Layout(changed_root)):
        pass


def test_the_archive_is_never_written_to(changed_root: Path, nnunet: Export, monai: Export) -> None:
    (changed_root / "archive").mkdir()
    for export in (nnunet, monai):
        with pytest.raises(AmosDaskError, match="inside the archive"):
            export(changed_root, changed_root / "archive" / "x")


def test_masks_denoised_later_do_not_change_an_export(
    changed_root: Path, nnunet: Export, tmp_path: Path, cluster_address: str
) -> None:
    nnunet(changed_root, tmp_path / "raw")
    before = snapshot(tmp_path / "raw")
    denoise(changed_root / "grouped", changed_root / "grouped", region_area_thresh=40.0,
            cluster=cluster_address, progress="none")  # fmt: skip
    assert snapshot(tmp_path / "raw") == before
    nnunet(changed_root, tmp_path / "raw")
    for path in (tmp_path / "raw" / "Dataset622_AMOS22" / "labelsTr").iterdir():
        assert is_copy(path, mask_of(changed_root, path.name[:9]))


# ---------------------------------------------------------------- the program


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        (
            "export nnunet raw",
            "export_nnunet",
            {"directory": Path("raw"), "dataset_id": None, "link": "copy"},
        ),
        (
            "export nnunet r --dataset-id 9 --link symbolic --merge-prostate-uterus --modality=ct",
            "export_nnunet",
            {
                "directory": Path("r"),
                "dataset_id": 9,
                "link": "symbolic",
                "merge_prostate_uterus": True,
                "selection": CT,
            },
        ),
        (
            "export monai a.json --mr_without_14_16 --subset train --ids 1-9",
            "export_monai",
            {
                "file": Path("a.json"),
                "mr_without_14_16": True,
                "selection": Selection(ids=("1-9",), subset="train"),
            },
        ),
    ],
)
def test_a_command_line_makes_exactly_this_call(
    line: str, name: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def answer(**arguments: Any) -> CommandResult:
        calls.append(arguments)
        return CommandResult((Path("out"),), 1, "1 training scan")

    monkeypatch.setattr(amos_dask, name, answer)
    program(*line.split())
    everywhere = {
        "root_dir": Path(),
        "merge_prostate_uterus": False,
        "mr_without_14_16": False,
        "label_explanation": None,
        "split_name": None,
        "selection": Selection(),
        "adopt": False,
        "no_lock": False,
        "cluster": ClusterOptions(),
        "progress": "auto",
    }
    assert calls == [everywhere | expected]


def test_the_commands(
    processed_root: Path, cluster_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(processed_root)  # where the root is taken from
    result = program(
        "export", "nnunet", tmp_path, "--cluster", cluster_address, "--modality", "mri",
        "--mr-without-14-16", "--merge_prostate_uterus", "--link", "symbolic", "--dataset-id", "99",
    )  # fmt: skip
    assert "2 training, 1 validation and 1 test scan;" in result.output
    labels = read(tmp_path / "Dataset099_AMOS22MR" / "dataset.json")["labels"]
    assert len(labels) == 14
    program(
        "export", "monai", tmp_path / "ct.json", "--root_dir", processed_root, "--cluster",
        cluster_address, "--modality", "ct", "--quiet",
    )  # fmt: skip
    assert read(tmp_path / "ct.json")["numTraining"] == 5


@pytest.mark.parametrize(
    ("places", "says"),
    [
        (["train/UND", "train/Prisma"], "amos_0001 has 2 folders"),
        (["other/UND"], "not in a folder train, val or test"),
    ],
)
def test_folders_that_cannot_be_told_apart_are_named(
    places: list[str], says: str, nnunet: Export, tmp_path: Path
) -> None:
    for place in places:
        folder = tmp_path / "AMOS22" / "grouped" / "AMOS-CT" / place / "amos_0001_F"
        folder.mkdir(parents=True)
        (folder / "amos_0001_volume.nii.gz").touch()
    with pytest.raises(AmosDaskError, match=says):
        nnunet(tmp_path / "AMOS22" / "grouped", tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_several_root_dirs_are_named(nnunet: Export, tmp_path: Path) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        folder = root / "grouped" / "AMOS-CT" / "train" / "UND" / "amos_0001_F"
        folder.mkdir(parents=True)
        (root / "descriptor").mkdir()
        (folder / "amos_0001_volume.nii.gz").touch()
    with pytest.raises(AmosDaskError, match=r"2 ROOT_DIRs .*/a; .*--root_dir"):
        nnunet(tmp_path, tmp_path / "raw")
