"""Which scans a phantom archive holds: ids, subsets, patients, shapes, quirks and defects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from amos_dask.phantom import metadata
from amos_dask.phantom.metadata import Patient, modality_of
from amos_dask.phantom.quirks import CT_PLANS, MRI_PLANS, Plan

DEFECTS: Final = ("truncated_volume", "unreadable_mask", "mask_shape", "unknown_label")

# Every fifth of both lists: 200/100/200 CT and 40/20/40 MR scans in the complete archive.
_SUBSETS: Final = ("train", "val", "test", "train", "test")
# The ids around 500 matter most: there the csv counts one less than the files.
_FIRST_CT: Final = (1, 4, 500, 9, 50, 111, 222, 333)
_FIRST_MRI: Final = (507, 508, 501, 600, 510)
Shape3 = tuple[int, int, int]
Spacing = tuple[float, float, float]

# size -> modality -> (shapes, spacings in mm), taken in turn.
SIZES: Final[dict[str, dict[str, tuple[tuple[Shape3, ...], tuple[Spacing, ...]]]]] = {
    "tiny": {
        "ct": (((16, 14, 6),), ((4.0, 4.0, 5.0), (3.5, 3.5, 5.0))),
        "mri": (((16, 14, 6),), ((4.0, 4.0, 5.5),)),
    },
    "small": {
        "ct": (
            ((64, 56, 20), (48, 40, 16), (56, 48, 12), (60, 52, 18), (52, 44, 14), (48, 42, 20),
             (50, 40, 12), (62, 54, 16)),
            ((0.78125, 0.78125, 5.0), (1.25, 1.25, 5.0), (0.9765625, 0.9765625, 2.0),
             (0.6015625, 0.6015625, 5.0), (1.5, 1.5, 3.0), (0.8203125, 0.8203125, 1.25),
             (0.683594, 0.683594, 5.0)),
        ),
        "mri": (
            ((56, 48, 14), (48, 44, 20), (64, 48, 12)),
            ((1.1875, 1.1875, 3.0), (1.40625, 1.40625, 5.5), (0.742188, 0.742188, 1.2)),
        ),
    },
    "full": {
        "ct": (((512, 512, 90),),
               ((0.705078, 0.705078, 5.0), (0.78125, 0.78125, 5.0), (0.683594, 0.683594, 5.0))),
        "mri": (((320, 260, 72),), ((1.1875, 1.1875, 5.5), (1.25, 1.25, 5.0))),
    },
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
    sex, age, birth_date, acquisition_date, scanner, manufacturer, site
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
        Names of what is odd, see `quirks.quirk_names`.
    defect
        One of `DEFECTS`, or "".
    """

    seq: str
    subset: str
    modality: str
    sex: str
    age: str
    birth_date: str
    acquisition_date: str
    scanner: str
    manufacturer: str
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
class Job:
    """One scan to write; `named_quirks` is False where an archive without quirks is asked for."""

    number: int
    subset: str
    plan: Plan
    shape: Shape3
    spacing_mm: Spacing
    patient: Patient
    anatomy: str
    defect: str
    named_quirks: bool


def require_arguments(n_ct: int, n_mri: int, size: str, form: str, defects: bool) -> None:
    """Raise ValueError for what `write_archive` cannot write."""
    room = metadata.N_CT - (len(DEFECTS) if defects else 0)
    if not 0 <= n_ct <= room:
        raise ValueError(f"n_ct must be in 0..{room}, not {n_ct}")
    if not 0 <= n_mri <= metadata.N_MRI:
        raise ValueError(f"n_mri must be in 0..{metadata.N_MRI}, not {n_mri}")
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
    if form not in ("folder", "zip"):
        raise ValueError(f"form must be 'folder' or 'zip', not {form!r}")


def _numbers(first: tuple[int, ...], everything: Iterable[int]) -> list[int]:
    return [*first, *(number for number in everything if number not in first)]


def plan_jobs(
    n_ct: int, n_mri: int, size: str, seed: int, quirks: bool, defects: bool
) -> tuple[list[Job], dict[int, Patient]]:
    """Plan what to write, in the order of the numbers, and all 600 patients by number."""
    ct = _numbers(_FIRST_CT, range(1, metadata.N_CT + 1))
    mri = _numbers(_FIRST_MRI, range(metadata.N_CT + 1, metadata.N_CT + metadata.N_MRI + 1))
    subset_of, plan_of = {}, {}
    for numbers, plans in ((ct[:n_ct], CT_PLANS), (mri[:n_mri], MRI_PLANS)):
        for position, number in enumerate(numbers):
            subset_of[number] = _SUBSETS[position % len(_SUBSETS)]
            plan_of[number] = plans[position % len(plans)] if quirks else Plan()
    defect_of = {}
    if defects:
        defect_of = dict(zip(ct[n_ct : n_ct + len(DEFECTS)], DEFECTS, strict=True))
        subset_of |= dict.fromkeys(defect_of, "train")
        plan_of |= dict.fromkeys(defect_of, Plan())
    missing = {number: plan.missing for number, plan in plan_of.items()}
    patients = metadata.make_patients(seed, subset_of, missing)
    jobs = []
    places = {"ct": itertools.count(), "mri": itertools.count()}
    for number, subset in subset_of.items():
        # Counted by modality: no scan changes when the other modality gets another one.
        position = next(places[modality_of(number)])
        shapes, spacings = SIZES[size][modality_of(number)]
        job = Job(
            number=number,
            subset=subset,
            plan=plan_of[number],
            shape=shapes[position % len(shapes)],
            spacing_mm=spacings[position % len(spacings)],
            patient=patients[number],
            anatomy=metadata.anatomy_of(number, seed),
            defect=defect_of.get(number, ""),
            named_quirks=quirks,
        )
        jobs.append(job)
    return sorted(jobs, key=lambda job: job.number), patients
