"""Which scans a phantom archive holds: ids, subsets, patients, shapes, quirks and defects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from amos_dask.phantom.patients_csv import N_CT, N_MRI, Patient, anatomy_of, make_patients
from amos_dask.phantom.quirks import (
    CT_QUIRKS,
    MRI_QUIRKS,
    PLAIN,
    Quirks,
    mask_dtype,
    storage_codes,
)

DEFECTS: Final = ("truncated_volume", "unreadable_mask", "mask_shape", "unknown_label")
SIZES: Final = ("tiny", "small", "full")
FORMS: Final = ("folder", "zip")

# Every fifth of both lists: 200/100/200 CT and 40/20/40 MR scans in the complete archive.
_SUBSETS: Final = ("train", "val", "test", "train", "test")
_SUFFIXES: Final = {"train": "Tr", "val": "Va", "test": "Ts"}
# The ids around 500 matter most: there the csv counts one less than the files.
_FIRST: Final = {"ct": (1, 4, 500, 9, 50, 111, 222, 333), "mri": (507, 508, 501, 600, 510)}
_EVERY: Final = {"ct": range(1, N_CT + 1), "mri": range(N_CT + 1, N_CT + N_MRI + 1)}
_QUIRKS: Final = {"ct": CT_QUIRKS, "mri": MRI_QUIRKS}
Shape3 = tuple[int, int, int]
Spacing = tuple[float, float, float]

# Shapes and spacings in mm, (x, y, z), taken in turn.
_GRIDS: Final[dict[tuple[str, str], tuple[tuple[Shape3, ...], tuple[Spacing, ...]]]] = {
    ("tiny", "ct"): (((16, 14, 6),), ((4.0, 4.0, 5.0), (3.5, 3.5, 5.0))),
    ("tiny", "mri"): (((16, 14, 6),), ((4.0, 4.0, 5.5),)),
    ("small", "ct"): (
        ((64, 56, 20), (48, 40, 16), (56, 48, 12), (60, 52, 18), (52, 44, 14), (48, 42, 20),
         (50, 40, 12), (62, 54, 16)),
        ((0.78125, 0.78125, 5.0), (1.25, 1.25, 5.0), (0.9765625, 0.9765625, 2.0),
         (0.6015625, 0.6015625, 5.0), (1.5, 1.5, 3.0), (0.8203125, 0.8203125, 1.25),
         (0.683594, 0.683594, 5.0)),
    ),
    ("small", "mri"): (
        ((56, 48, 14), (48, 44, 20), (64, 48, 12)),
        ((1.1875, 1.1875, 3.0), (1.40625, 1.40625, 5.5), (0.742188, 0.742188, 1.2)),
    ),
    ("full", "ct"): (
        ((512, 512, 90),),
        ((0.705078, 0.705078, 5.0), (0.78125, 0.78125, 5.0), (0.683594, 0.683594, 5.0)),
    ),
    ("full", "mri"): (((320, 260, 72),), ((1.1875, 1.1875, 5.5), (1.25, 1.25, 5.0))),
}  # fmt: skip


@dataclass(frozen=True)
class PlantedSample:
    """What was planted for one scan.

    Attributes
    ----------
    seq
        Four digits, "0001".
    subset
        "train", "val" or "test".
    modality
        "ct" or "mri".
    birth_date, sex, age, scanner, manufacturer, acquisition_date, site
        As in this scan's row of the csv, "" where missing.
    anatomy
        "F" or "M": whether label 15 is a uterus or a prostate, also when the csv is silent.
    image, mask_name
        Names inside the archive's root, POSIX; `mask_name` is "" without mask.
    mask
        Data type of the mask file, "none" without mask.
    shape
        Voxels of the volume as stored, (x, y, z), without a trailing frame axis.
    spacing_mm
        Voxel size as stored, millimetres, (x, y, z).
    quirks
        Names of what is odd, see `quirks.CT_QUIRKS`; none where none were asked for.
    defect
        One of `DEFECTS`, or "".
    """

    seq: str
    subset: str
    modality: str
    birth_date: str
    sex: str
    age: str
    scanner: str
    manufacturer: str
    acquisition_date: str
    site: str
    anatomy: str
    image: str
    mask_name: str
    mask: str
    shape: Shape3
    spacing_mm: Spacing
    quirks: tuple[str, ...]
    defect: str

    @property
    def sample_id(self) -> str:
        """The name that files and folders carry, "amos_0001"."""
        return f"amos_{self.seq}"


@dataclass(frozen=True)
class _Draft:
    """One scan to plan: the position is among those of its modality."""

    modality: str
    position: int
    subset: str
    quirks: Quirks
    defect: str


def plan_samples(
    n_ct: int, n_mri: int, size: str, seed: int, quirks: bool, defects: bool
) -> tuple[tuple[PlantedSample, ...], dict[int, Patient]]:
    """Plan what to write.

    Parameters
    ----------
    n_ct, n_mri
        Scans of each modality.
    size
        One of `SIZES`.
    seed
        Draws patients.
    quirks
        Whether anything is odd.
    defects
        Whether a CT of each of `DEFECTS` is added.

    Returns
    -------
    tuple of PlantedSample
        By seq.
    dict of int to Patient
        All 600 patients, by number.
    """
    drafts: dict[int, _Draft] = {}
    for modality, wanted in (("ct", n_ct), ("mri", n_mri)):
        first, table = _FIRST[modality], _QUIRKS[modality]
        numbers = [*first, *(number for number in _EVERY[modality] if number not in first)]
        broken = DEFECTS if defects and modality == "ct" else ()
        for position, number in enumerate(numbers[: wanted + len(broken)]):
            defect = broken[position - wanted] if position >= wanted else ""
            drafts[number] = _Draft(
                modality,
                position,
                "train" if defect else _SUBSETS[position % len(_SUBSETS)],
                table[position % len(table)] if quirks and not defect else PLAIN,
                defect,
            )
    missing = {
        number: tuple(name[8:] for name in draft.quirks if name.startswith("missing_"))
        for number, draft in drafts.items()
    }
    subset_of = {number: draft.subset for number, draft in drafts.items()}
    patients = make_patients(seed, subset_of, missing)
    samples = [
        _sample(number, draft, size, seed, quirks, patients[number])
        for number, draft in sorted(drafts.items())
    ]
    return tuple(samples), patients


def _sample(
    number: int, draft: _Draft, size: str, seed: int, quirks: bool, patient: Patient
) -> PlantedSample:
    seq, suffix = f"{number:04d}", _SUFFIXES[draft.subset]
    shapes, spacings = _GRIDS[size, draft.modality]
    shape = shapes[draft.position % len(shapes)]
    spacing_mm = spacings[draft.position % len(spacings)]
    # The axis in RAS of each axis as stored.
    i, j, k = ("RLAPSI".index(code) // 2 for code in storage_codes(draft.quirks))
    labelled = draft.subset != "test"
    named = draft.quirks if quirks else ()
    return PlantedSample(
        seq=seq,
        subset=draft.subset,
        modality=draft.modality,
        **patient._asdict(),
        anatomy=anatomy_of(number, seed),
        image=f"images{suffix}/amos_{seq}{'_0000' * ('nnunet_name' in named)}.nii.gz",
        mask_name=f"labels{suffix}/amos_{seq}.nii.gz" if labelled else "",
        mask=mask_dtype(draft.quirks) if labelled else "none",
        shape=(shape[i], shape[j], shape[k]),
        spacing_mm=(spacing_mm[i], spacing_mm[j], spacing_mm[k]),
        quirks=tuple(name for name in named if labelled or not name.startswith("mask_")),
        defect=draft.defect,
    )
