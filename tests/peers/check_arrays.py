"""Run by a Python that has MONAI: its Orientationd and Spacingd against arrays that we exported.

    python check_arrays.py ORIENTATION X,Y,Z VOLUME,ARRAY ...

Prints a JSON list as the last line: for each pair whether the shapes are the same, the largest
difference of the affines, and that of the values within the outermost voxels over their range.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import nibabel as nib
    import numpy as np
    from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Spacingd

    orientation, spacing, *pairs = sys.argv[1:]
    transform = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", orientation, labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacingd("image", [float(mm) for mm in spacing.split(",")], dtype=np.float64),
        ]
    )
    found = []
    for volume, array in (pair.split(",") for pair in pairs):
        theirs, ours = transform({"image": volume})["image"], nib.load(array)
        values, affine = theirs.numpy()[0], theirs.affine.numpy()
        apart = None
        if values.shape == ours.shape:
            inside = tuple(slice(1, -1) if n > 4 else slice(None) for n in values.shape)
            difference = np.abs(values[inside] - np.asarray(ours.dataobj)[inside]).max()
            apart = float(difference / np.ptp(values))
        same = values.shape == ours.shape
        found.append([same, float(np.abs(affine - ours.affine).max()), apart])
    sys.stdout.write(f"\n{json.dumps(found)}\n")


main()
