"""The notebook that trains on the exports runs, and says what the documents show of it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from peers.peers import check, python_with

NOTEBOOK = Path(__file__).parents[2] / "docs/notebooks/train_on_the_exports.ipynb"
# Sums of floats: other processors give other last digits, which training makes other first ones.
OF_THE_MACHINE = {"train", "dice"}


def test_the_notebook_trains_on_the_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("monai", "nnunetv2", "ipykernel"):
        python_with(package)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")  # amos-dask
    said, _ = check("nbclient", "check_notebook.py", NOTEBOOK)
    first, last = map(float, re.findall(r"\d+\.\d+", said["train"]))
    assert last < first / 2
    assert said["datalist"] == "(5, 3, 17)"
    assert "verify_dataset_integrity Done" in said["plan"]
    assert said["splits"].endswith("8)")
    kept = {
        cell["id"]: "".join(
            "".join(output.get("text") or output["data"]["text/plain"])
            for output in cell["outputs"]
        )
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    }
    assert kept.keys() == said.keys()
    assert {name: kept[name] for name in kept.keys() - OF_THE_MACHINE} == {
        name: said[name] for name in said.keys() - OF_THE_MACHINE
    }
