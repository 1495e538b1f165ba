"""TotalSegmentator's CT dataset, version 2: a folder a scan, a binary mask a label."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from phantoms.planting import OtherArchive, OtherSample, nifti_gz, nifti_header, write_junk

# By label, from 1.
TOTAL_NAMES: Final = (
    "spleen", "kidney_right", "kidney_left", "gallbladder", "liver", "stomach", "pancreas",
    "adrenal_gland_right", "adrenal_gland_left", "lung_upper_lobe_left", "lung_lower_lobe_left",
    "lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right", "esophagus",
    "trachea", "thyroid_gland", "small_bowel", "duodenum", "colon", "urinary_bladder", "prostate",
    "kidney_cyst_left", "kidney_cyst_right", "sacrum", "vertebrae_S1",
    *(f"vertebrae_L{n}" for n in range(5, 0, -1)),
    *(f"vertebrae_T{n}" for n in range(12, 0, -1)),
    *(f"vertebrae_C{n}" for n in range(7, 0, -1)),
    "heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk", "subclavian_artery_right",
    "subclavian_artery_left", "common_carotid_artery_right", "common_carotid_artery_left",
    "brachiocephalic_vein_left", "brachiocephalic_vein_right", "atrial_appendage_left",
    "superior_vena_cava", "inferior_vena_cava", "portal_vein_and_splenic_vein",
    "iliac_artery_left", "iliac_artery_right", "iliac_vena_left", "iliac_vena_right",
    "humerus_left", "humerus_right", "scapula_left", "scapula_right", "clavicula_left",
    "clavicula_right", "femur_left", "femur_right", "hip_left", "hip_right", "spinal_cord",
    "gluteus_maximus_left", "gluteus_maximus_right", "gluteus_medius_left",
    "gluteus_medius_right", "gluteus_minimus_left", "gluteus_minimus_right", "autochthon_left",
    "autochthon_right", "iliopsoas_left", "iliopsoas_right", "brain", "skull",
    *(f"rib_left_{n}" for n in range(1, 13)),
    *(f"rib_right_{n}" for n in range(1, 13)),
    "sternum", "costal_cartilages",
)  # fmt: skip
# Half of the first is in the masks of the others too.
_OVERLAPPING: Final = (
    ("heart", "atrial_appendage_left", "superior_vena_cava"),
    ("urinary_bladder", "hip_left"),
    ("vertebrae_T5", "vertebrae_T6"),
    ("esophagus", "trachea"),
)
_TILES: Final = 5  # along each axis: a tile for each label
_N_SPECKS: Final = 60
_EMPTY: Final = 0.1
_SPACING_MM: Final = 1.5
_HEADER: Final = (
    "image_id;age;gender;institute;study_type;split;"
    "manufacturer;scanner_model;kvp;pathology;pathology_location"
)


def write_totalsegmentator(
    directory: str | os.PathLike[str],
    *,
    n_scans: int = 2,
    n_labels: int | None = None,
    shape: tuple[int, int, int] = (40, 35, 20),
    seed: int = 0,
    defects: bool = False,
) -> OtherArchive:
    """Write a synthetic archive in the form of TotalSegmentator's CT dataset, version 2.

    Each label is a tile of the volume; some reach into others, and single voxels of any lie
    anywhere, also in two or three masks. The second scan lacks the file of label 2; in all, some
    masks are empty.

    Parameters
    ----------
    directory
        The archive becomes the folder ``Totalsegmentator_dataset_v201`` in it.
    n_scans
        How many; there are gaps in their ids.
    n_labels
        Only the first so many have files, at least 3; by default all 117.
    shape
        Voxels along (x, y, z), at least 10 each.
    seed
        The same seed gives the same bytes.
    defects
        In the last scan, the mask of label 1 holds 2 as well.

    Returns
    -------
    OtherArchive
        Where it is and what was planted.
    """
    folder = Path(directory) / "Totalsegmentator_dataset_v201"
    names = TOTAL_NAMES[:n_labels]
    samples, rows = [], [_HEADER]
    for position in range(n_scans):
        name = f"s{position + position // 2:04d}"
        rng = np.random.default_rng([seed, position])
        masks = make_masks(names, shape, rng)
        if position == 1:
            masks[1] = False
        subset = {1: "test", 3: "val"}.get(position % 10, "train")
        defect = "not_binary" if defects and position == n_scans - 1 else ""
        how = {"defect": defect, "lacks_second": position == 1}
        samples.append(
            write_masked_scan(folder, name, "totalseg", subset, names, masks, rng, **how)
        )
        age = "" if position % 7 == 4 else str(20 + 7 * position % 70)
        rows.append(
            f"{name};{age};{'mf'[position % 2]};{'ABC'[position % 3]};ct thorax;{subset};"
            "siemens;SOMATOM Force;100;no_pathology;"
        )
    (folder / "meta.csv").write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    first = samples[0].image.replace("ct.nii.gz", "._ct.nii.gz")
    return OtherArchive(folder, tuple(samples), write_junk(folder, [first]))


def make_masks(
    names: tuple[str, ...], shape: tuple[int, int, int], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return the masks by label, (label - 1, z, y, x)."""
    masks = np.zeros((len(names), *shape[::-1]), bool)
    for label, mask in enumerate(masks):
        tile = np.unravel_index(label, (_TILES,) * 3)
        mask[_box(tile, mask.shape)] = True
    joined = [(0, len(names) - 1)]
    joined += [tuple(map(names.index, some)) for some in _OVERLAPPING if set(some) <= set(names)]
    for first, *others in joined:
        half = masks[first].copy()
        half[..., ::2] = False
        masks[others] |= half
    spared = {label for some in joined for label in some}
    for label in range(len(names)):
        if rng.random() < _EMPTY and label not in spared:
            masks[label] = False
    at = rng.integers(0, masks.shape, (_N_SPECKS, 4))
    # Of each two after another, the second lies in the place of the first.
    at[1::2, 1:] = at[::2, 1:]
    masks[tuple(at.T)] = True
    return masks


def _box(tile: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    edges = zip(tile, shape, strict=True)
    return tuple(slice(n * size // _TILES, (n + 1) * size // _TILES) for n, size in edges)


def write_masked_scan(
    folder: Path,
    name: str,
    prefix: str,
    subset: str,
    names: tuple[str, ...],
    masks: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    defect: str = "",
    lacks_second: bool = False,
) -> OtherSample:
    """Write a scan whose values go with its labels, and a file for each mask."""
    (folder / name / "segmentations").mkdir(parents=True)
    affine = np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0])
    affine[:3, 3] = rng.integers(-300, 300, 3)
    header = nifti_header(np.uint8, masks.shape[:0:-1], affine)
    labels = np.zeros(masks.shape[1:], np.uint8)
    files = []
    for label, mask in enumerate(masks, start=1):
        labels[mask] = label  # the later wins
        if lacks_second and label == 2:
            continue
        files.append((label, f"{name}/segmentations/{names[label - 1]}.nii.gz"))
        voxels = mask.astype(np.uint8)
        if defect and label == 1:
            voxels[0] *= 2
        (folder / files[-1][1]).write_bytes(gzip.compress(header + voxels.tobytes(), 1, mtime=0))
    volume = np.where(labels, 40 + labels.astype(np.int16), np.int16(-100)).T
    volume = (volume + rng.integers(-20, 21, volume.shape)).astype(np.int16)
    (folder / name / "ct.nii.gz").write_bytes(nifti_gz(volume, affine))
    return OtherSample(
        sample_id=f"{prefix}_{name}",
        subset=subset,
        image=f"{name}/ct.nii.gz",
        mask_name="",
        defect=defect,
        label_masks=tuple(files),
        labels=None if defect else labels.T,
        overlaps=_count_overlaps(masks),
    )


def _count_overlaps(masks: npt.NDArray[np.bool_]) -> Mapping[tuple[int, int], int]:
    """Return the voxels of each pair of labels; of three masks in a voxel, each pair counts it."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)  # whole numbers up to 2**24
    counts = np.triu(flat @ flat.T, k=1)
    return {(int(a) + 1, int(b) + 1): int(counts[a, b]) for a, b in np.argwhere(counts)}
