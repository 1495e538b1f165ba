"""mlcroissant takes our Croissant file, and reads a record a sample by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
from peers.peers import check, python_with

import amos_dask


def test_mlcroissant_reads_the_samples(processed_root: Path, root: Path) -> None:
    python_with("mlcroissant")
    shutil.copytree(processed_root, root)
    _, croissant = amos_dask.card(root).outputs
    found, _ = check("mlcroissant", "check_croissant.py", croissant)
    path = root / "grouped" / "dataset_manifest.xlsx"
    manifest = pd.read_excel(path, dtype={"seq": str})[["ID", "seq", "volume", "age"]]
    assert found == {"errors": [], "records": manifest.to_dict("records")}
