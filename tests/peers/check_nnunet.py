"""Run by a Python that has nnU-Net: its integrity check, and what it plans with a dataset.

    python check_nnunet.py nnUNet_raw/DatasetXXX_AMOS22… [--plan]

Prints a JSON object as the last line.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    dataset = Path(sys.argv[1])
    preprocessed = dataset.parents[1] / "nnUNet_preprocessed"
    os.environ.update(
        nnUNet_raw=str(dataset.parent),
        nnUNet_preprocessed=str(preprocessed),
        nnUNet_results=str(dataset.parents[1] / "nnUNet_results"),
    )

    # Imported late: nnU-Net reads the environment when it is imported.
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
    )
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    verify_dataset_integrity(str(dataset), num_processes=2)
    labels = LabelManager(json.loads((dataset / "dataset.json").read_text())["labels"], None)
    found = {
        "nnunetv2": version("nnunetv2"),
        "torch": version("torch"),
        "n_labels": int(labels.num_segmentation_heads),
    }
    if "--plan" in sys.argv:
        number = int(dataset.name[7:10])
        extract_fingerprints([number], num_processes=2, clean=True, verbose=False)
        plan_experiments([number])
        planned = preprocessed / dataset.name
        found["splits"] = json.loads((planned / "splits_final.json").read_text())
        plans = json.loads((planned / "nnUNetPlans.json").read_text())
        found["normalization"] = plans["configurations"]["3d_fullres"]["normalization_schemes"]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":  # nnU-Net's workers are spawned and import this file
    main()
