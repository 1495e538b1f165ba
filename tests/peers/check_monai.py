"""Run by a Python that has MONAI: its loaders of datalists, and of the images they list.

    python check_monai.py datalist.json

Prints a JSON object as the last line.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    import numpy as np
    from monai.auto3dseg.utils import datafold_read
    from monai.data import check_missing_files, load_decathlon_datalist, load_decathlon_properties
    from monai.transforms import LoadImaged

    file = Path(sys.argv[1])
    training = load_decathlon_datalist(file, True, "training")
    testing = load_decathlon_datalist(file, True, "testing")
    missing = check_missing_files([*training, *testing], ["image", "label"], None, True)
    labels = load_decathlon_properties(file, ["labels"])["labels"]
    folds = datafold_read(str(file), str(file.parent), fold=0)
    load = LoadImaged(keys=["image", "label"])
    found: dict[str, set[int]] = {}
    for item in training:
        data = load(item)
        several = [len(item["image"])] if isinstance(item["image"], list) else []
        if list(data["image"].shape) != [*several, *data["label"].shape]:
            raise SystemExit(f"{item}: shapes differ")
        found[item["label"]] = {int(value) for value in np.unique(data["label"])}
    values = set().union(*found.values())
    result = {
        "monai": version("monai"),
        "torch": version("torch"),
        "training": len(training),
        "testing": len(testing),
        "missing": [str(path) for path in missing],
        "folds": [len(fold) for fold in folds],
        "validation": sorted(Path(item["label"]).name[:9] for item in folds[1]),
        "strange_values": sorted(values - {int(value) for value in labels}),
        "n_labels": len(labels),
    }
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main()
