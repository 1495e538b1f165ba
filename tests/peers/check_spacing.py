"""Run by a Python that has MONAI: its Orientationd and Spacingd, held against arrays of ours.

    python check_spacing.py cases.json

Each case names a scan and its mask as they are in ROOT_DIR, what ``export arrays`` made of them
(NIfTI), and how. Prints a JSON object as the last line: the largest differences of all cases.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def compare(case: dict[str, Any]) -> dict[str, float]:
    import nibabel as nib
    import numpy as np
    from monai.transforms import AsDiscreted, Compose, LoadImaged, Orientationd, Spacingd

    scan, mask = nib.load(case["image"]), nib.load(case["label"])
    keys, n_labels = ["image", "label"], int(mask.dataobj[...].max()) + 1
    how = {"pixdim": case["spacing"], "mode": ("bilinear", "bilinear")}
    theirs = Compose(
        [
            LoadImaged(keys, ensure_channel_first=True),
            AsDiscreted("label", to_onehot=n_labels),
            Orientationd(keys, axcodes=case["orientation"], labels=None),
            Spacingd(keys, padding_mode="border", dtype="float64", **how),
        ]
    )({key: case[key] for key in keys})
    ours, our_mask = nib.load(case["our_image"]), nib.load(case["our_label"])
    values = theirs["image"].numpy()[0]
    found = np.asarray(ours.dataobj)
    if found.shape != values.shape:
        raise SystemExit(f"{case}: {found.shape} is not {values.shape}")
    span = float(np.ptp(np.asarray(scan.dataobj)))
    shares = np.sort(theirs["label"].numpy(), axis=0)
    is_clear = shares[-1] - shares[-2] > 1e-3  # where it is not, rounding decides
    is_other = theirs["label"].numpy().argmax(axis=0) != np.asarray(our_mask.dataobj)
    inside = (slice(1, -1),) * 3
    return {
        "affine": float(np.abs(theirs["image"].affine.numpy() - ours.affine).max()),
        "value_inside": float(np.abs(found - values)[inside].max()) / span,
        "value": float(np.abs(found - values).max()) / span,
        "n_other_labels": float((is_other & is_clear).sum()),
        "unclear": 1 - float(is_clear.mean()),
    }


def main() -> None:
    found = [compare(case) for case in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    largest = {name: max(each[name] for each in found) for name in found[0]}
    told = {"monai": version("monai"), "torch": version("torch"), "cases": len(found), **largest}
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
