"""nnU-Net's own integrity check accepts what `export nnunet` writes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from peers.peers import check, python_with
from phantoms import OtherArchive, write_brats, write_decathlon

from amos_dask import Selection, export_nnunet, make_split, run
from amos_dask.phantom import Archive
from amos_dask.root.layout import Layout
from amos_dask.tables.workbook import read_sheet

CT, MR = Selection(modality="ct"), Selection(modality="mri")


@pytest.mark.parametrize(
    ("options", "n_labels"),
    [
        ({}, 17),
        ({"merge_prostate_uterus": True, "link": "symbolic"}, 16),
        ({"selection": CT, "link": "copy"}, 17),
        ({"selection": MR, "mr_without_14_16": True}, 14),
    ],
)
def test_nnunet_accepts_the_export(
    options: dict[str, Any],
    n_labels: int,
    processed_root: Path,
    cluster_address: str,
    tmp_path: Path,
) -> None:
    python_with("nnunetv2")  # before anything is done
    options = {"cluster": cluster_address, "progress": "none", **options}
    result = export_nnunet(processed_root, tmp_path / "nnUNet_raw", **options)
    found, said = check("nnunetv2", "check_nnunet.py", result.outputs[0])
    assert found["n_labels"] == n_labels
    assert "verify_dataset_integrity Done" in said
    assert "Error" not in said
    assert "Warning" not in said


def test_the_way_of_the_readme_goes_to_preprocessed_scans(tmp_path: Path) -> None:
    theirs = python_with("nnunetv2")
    readme = Path(__file__).parents[2] / "README.md"
    told = re.search(r"^ +python3 -m venv nnunet.*\n((?: {4}.*\n)+)", readme.read_text(), re.M)
    assert told is not None
    for name, program in ((".venv", sys.executable), ("nnunet", theirs)):
        (tmp_path / name).symlink_to(Path(program).parents[1])
    way = f".venv/bin/amos-dask demo --workers 1\n{told[1]}"
    done = subprocess.run(["bash", "-euc", way], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verify_dataset_integrity Done" in done.stdout
    made = tmp_path / "nnUNet_preprocessed/Dataset622_AMOS22/nnUNetPlans_3d_fullres"
    assert len(list(made.glob("*.pkl"))) == 8


def test_nnunet_takes_the_official_split_over(
    phantom: Archive, processed_root: Path, cluster_address: str, tmp_path: Path
) -> None:
    python_with("nnunetv2")
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    result = export_nnunet(processed_root, tmp_path / "nnUNet_raw", selection=CT, **options)
    found, _ = check("nnunetv2", "check_nnunet.py", result.outputs[0], "--plan")
    by_subset = {
        subset: [s.sample_id for s in phantom.samples if (s.subset, s.modality) == (subset, "ct")]
        for subset in ("train", "val")
    }
    assert found["splits"] == [by_subset]
    assert found["normalization"] == ["CTNormalization"]


def test_nnunet_takes_all_folds_of_a_split_over(
    processed_root: Path, cluster_address: str, tmp_path: Path
) -> None:
    python_with("nnunetv2")
    root = Path(shutil.copytree(processed_root, tmp_path / "AMOS22"))
    manifest = Layout(root).dataset_manifest("ct")
    make_split(manifest, kind="kfold", folds=3, seed=0)
    rows = read_sheet(manifest, "split02_kfold3")
    parts = dict(zip(rows["ID"], rows["split02_kfold3"], strict=True))
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none", "selection": CT}
    result = export_nnunet(root, tmp_path / "nnUNet_raw", split_name="split02_kfold3", **options)
    found, said = check("nnunetv2", "check_nnunet.py", result.outputs[0], "--plan")
    assert "Error" not in said
    assert [set(fold["val"]) for fold in found["splits"]] == [
        {i for i, part in parts.items() if part == f"fold{number}"} for number in range(3)
    ]


@pytest.mark.parametrize(
    ("dataset", "write", "n_labels"),
    [
        ("decathlon", partial(write_decathlon, task="brain"), 4),
        ("brats", partial(write_brats, year=2021), 5),
        ("brats", partial(write_brats, year=2023), 5),
    ],
)
def test_nnunet_accepts_several_channels(
    dataset: str,
    write: Callable[[Path], OtherArchive],
    n_labels: int,
    cluster_address: str,
    tmp_path: Path,
) -> None:
    python_with("nnunetv2")
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    run(tmp_path / "root", write(tmp_path).path, dataset=dataset, report=False, **options)
    result = export_nnunet(tmp_path / "root", tmp_path / "nnUNet_raw", dataset_id=1, **options)
    found, said = check("nnunetv2", "check_nnunet.py", result.outputs[0])
    assert found["n_labels"] == n_labels
    assert "verify_dataset_integrity Done" in said
    assert "Error" not in said
    assert "Warning" not in said
