"""MONAI's own loaders accept what `export monai` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peers.peers import check, python_with
from phantoms import write_decathlon

from amos_dask import export_monai, run
from amos_dask.phantom import Archive


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


def test_monai_accepts_several_channels(cluster_address: str, tmp_path: Path) -> None:
    python_with("monai")
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    archive = write_decathlon(tmp_path, "brain")
    run(tmp_path / "root", archive.path, dataset="decathlon", report=False, **options)
    result = export_monai(tmp_path / "root", tmp_path / "brain.json", **options)
    found, _ = check("monai", "check_monai.py", result.outputs[0])
    assert (found["training"], found["testing"], found["missing"]) == (2, 1, [])
    assert (found["n_labels"], found["strange_values"]) == (4, [])
