"""AbdomenAtlas: a folder a scan, a binary mask a label, and what is made of all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

from phantoms.planting import OtherArchive, nifti_gz, write_file, write_junk
from phantoms.totalsegmentator import make_masks, write_masked_scan

# By label, from 1; version 1.0 has the first nine.
ATLAS_NAMES: Final = (
    "aorta", "gall_bladder", "kidney_left", "kidney_right", "liver", "pancreas", "postcava",
    "spleen", "stomach", "adrenal_gland_left", "adrenal_gland_right", "bladder", "celiac_trunk",
    "colon", "duodenum", "esophagus", "femur_left", "femur_right", "hepatic_vessel", "intestine",
    "lung_left", "lung_right", "portal_vein_and_splenic_vein", "prostate", "rectum",
)  # fmt: skip
_SHAPE: Final = (20, 25, 12)


def write_abdomenatlas(
    directory: str | os.PathLike[str], *, n_scans: int = 3, seed: int = 0
) -> OtherArchive:
    """Write a synthetic archive in the form of AbdomenAtlas 1.1 Mini; its last scan as in 1.0.

    Parameters
    ----------
    directory
        The archive becomes the folder ``AbdomenAtlas1.1Mini`` in it.
    n_scans
        How many.
    seed
        The same seed gives the same bytes.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    folder = Path(directory) / "AbdomenAtlas1.1Mini"
    samples, others = [], []
    for position in range(n_scans):
        name = f"BDMAP_{1 + 7 * position:08d}"
        rng = np.random.default_rng([seed, position])
        names = ATLAS_NAMES[:9] if position == n_scans - 1 else ATLAS_NAMES
        masks = make_masks(names, _SHAPE, rng)
        sample = write_masked_scan(folder, name, "abdomenatlas", "train", names, masks, rng)
        samples.append(sample)
        others.append(f"{name}/combined_labels.nii.gz")
        assert sample.labels is not None
        write_file(folder / others[-1], nifti_gz(sample.labels, np.eye(4)))
    return OtherArchive(folder, tuple(samples), write_junk(folder, []), tuple(others))
