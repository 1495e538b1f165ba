"""MONAI's own loaders accept what `export monai` writes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from peers.peers import check, python_with
from phantoms import write_decathlon

from amos_dask import export_monai, make_split, run
from amos_dask.phantom import Archive
from amos_dask.root.layout import Layout


@pytest.mark.parametrize(
    ("options", "n_labels"),
    [({}, 17), ({"merge_prostate_uterus": True, "mr_without_14_16": True}, 16)],
)
def test_monai_accepts_the_export(
    options: dict[str, Any],
    n_labels: int,
    phantom: Archive,
    processed_root: Path,
    cluster_address: str,
    tmp_path: Path,
) -> None:
    python_with("monai")  # before anything is done
    options = {"cluster": cluster_address, "progress": "none", **options}
    result = export_monai(processed_root, tmp_path / "amos.json", **options)
    found, _ = check("monai", "check_monai.py", result.outputs[0])
    validation = [s.sample_id for s in phantom.samples if s.subset == "val"]
    assert found["folds"] == [5, 3]
    assert found["validation"] == validation
    assert (found["training"], found["testing"], found["missing"]) == (8, 4, [])
    assert (found["n_labels"], found["strange_values"]) == (n_labels, [])


def test_monai_reads_the_folds_of_a_split(
    processed_root: Path, cluster_address: str, tmp_path: Path
) -> None:
    python_with("monai")
    root = Path(shutil.copytree(processed_root, tmp_path / "AMOS22"))
    make_split(Layout(root).dataset_manifest(), kind="kfold", folds=4, seed=0)
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    result = export_monai(root, tmp_path / "a.json", split_name="split02_kfold4", **options)
    found, _ = check("monai", "check_monai.py", result.outputs[0])
    assert found["folds"] == [6, 2]
    assert (found["training"], found["testing"], found["missing"]) == (8, 4, [])


def test_the_recipes_for_plain_pytorch_run(processed_root: Path, tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/howto/training.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 3
    (tmp_path / "data").mkdir()
    (tmp_path / "data/AMOS22").symlink_to(processed_root)
    told = "".join(blocks) + (
        "print(len(scans), volume.dtype, mask.dtype, volume.shape[1:] == mask.shape)\n"
        "print(len(labels), labels[16], sum(n_voxels.values()) == mask.numel())\n"
    )
    python_with("openpyxl, yaml")
    python = python_with("torch")
    done = subprocess.run([python, "-c", told], cwd=tmp_path, capture_output=True, text=True)
    found = done.stdout.splitlines()
    assert found == ["5 torch.float32 torch.int64 True", "17 uterus True"], done.stderr


def test_monai_accepts_several_channels(cluster_address: str, tmp_path: Path) -> None:
    python_with("monai")
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    archive = write_decathlon(tmp_path, "brain")
    run(tmp_path / "root", archive.path, dataset="decathlon", report=False, **options)
    result = export_monai(tmp_path / "root", tmp_path / "brain.json", **options)
    found, _ = check("monai", "check_monai.py", result.outputs[0])
    assert (found["training"], found["testing"], found["missing"]) == (2, 1, [])
    assert (found["n_labels"], found["strange_values"]) == (4, [])
