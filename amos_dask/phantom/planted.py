"""Which scans a phantom archive holds, of which patients, and what is odd or broken in them.

The official csv counts MR scans from 500 instead of 501: scan N above 500 stands in the row of
``amos_id`` N - 1, and 500 occurs twice. Neighbouring MR rows made here always differ in scanner
and in sex, so that reading the wrong one shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from datetime import date, timedelta
from operator import itemgetter
from typing import Any, Final

import numpy as np

from amos_dask.phantom.quirks import CT_QUIRKS, MRI_QUIRKS, PLAIN, mask_dtype, ras_axes

N_CT, N_MRI = 500, 100

_COLUMNS: Final = (
    "amos_id", "Patient's Birth Date", "Patient's Sex", "Patient's Age",
    "Manufacturer's Model Name", "Manufacturer", "Acquisition Date", "Site",
)  # fmt: skip
_CT_SCANNERS: Final = {
    "Aquilion ONE": "TOSHIBA",
    "Brilliance16": "Philips",
    "SOMATOM Force": "SIEMENS",
    "Optima CT660": "GE MEDICAL SYSTEMS",
    "Optima CT540": "GE MEDICAL SYSTEMS",
}
# Ingenia comes first: scans without a mask are its share, as in the real archive.
_MRI_SCANNERS: Final = {
    "Ingenia": "Philips",
    "Prisma": "SIEMENS",
    "SIGNA HDe": "GE MEDICAL SYSTEMS",
    "Achieva": "Philips",
}

DEFECTS: Final = ("truncated_volume", "unreadable_mask", "mask_shape", "unknown_label")

# Every fifth of both lists: 200/100/200 CT and 40/20/40 MR scans in the complete archive.
_SUBSETS: Final = ("train", "val", "test", "train", "test")
_SUFFIXES: Final = {"train": "Tr", "val": "Va", "test": "Ts"}
# The ids around 500 matter most: there the csv counts one less than the files.
_FIRST_CT, _FIRST_MRI = (1, 4, 500, 9, 50, 111, 222, 333), (507, 508, 501, 600, 510)
_CT: Final = tuple(dict.fromkeys((*_FIRST_CT, *range(1, N_CT + 1))))
_MRI: Final = tuple(dict.fromkeys((*_FIRST_MRI, *range(N_CT + 1, N_CT + N_MRI + 1))))

# Shapes and spacings in mm, (x, y, z), taken in turn.
SIZES: Final[dict[str, dict[str, tuple[Any, Any]]]] = {
    "tiny": {
        "ct": (((16, 14, 6),), ((4.0, 4.0, 5.0), (3.5, 3.5, 5.0))),
        "mri": (((16, 14, 6),), ((4.0, 4.0, 5.5),)),
    },
    "small": {
        "ct": (
            ((64, 56, 20), (48, 40, 16), (56, 48, 12), (60, 52, 18), (52, 44, 14), (48, 42, 20)),
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
        "ct": (((512, 512, 90),), ((0.705078, 0.705078, 5.0), (0.78125, 0.78125, 5.0))),
        "mri": (((320, 260, 72),), ((1.1875, 1.1875, 5.5), (1.25, 1.25, 5.0))),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Patient:
    """What the csv tells about one scan, in its order; a missing value is an empty string."""

    birth_date: str
    sex: str
    age: str
    scanner: str
    manufacturer: str
    acquisition_date: str
    site: str


def _make_patients(seed: int, subset_of: Mapping[int, str]) -> dict[int, Patient]:
    """Make up a patient for each of the 600 scans, given their subsets; by number."""
    rng = np.random.default_rng([seed, 600])
    scanners = _scanners(subset_of)
    manufacturers = _CT_SCANNERS | _MRI_SCANNERS
    patients = {}
    for number in range(1, N_CT + N_MRI + 1):
        acquired = date(2016, 1, 1) + timedelta(days=int(rng.integers(0, 2000)))
        born = acquired - timedelta(days=int(rng.integers(365 * 22, 365 * 88)))
        had_birthday = (acquired.month, acquired.day) >= (born.month, born.day)
        patients[number] = Patient(
            birth_date=f"{born:%Y%m%d}",
            sex="FM"[(number + seed) % 2],
            age=f"{acquired.year - born.year - (not had_birthday):03d}Y",
            scanner=scanners[number],
            manufacturer=manufacturers[scanners[number]],
            acquisition_date=f"{acquired:%Y%m%d}",
            site="center" if rng.random() < 0.7 else "people",
        )
    return patients


def _scanners(subset_of: Mapping[int, str]) -> dict[int, str]:
    """Scanner of each scan: in turn, but for unlabelled MR scans."""
    ct, mri = list(_CT_SCANNERS), list(_MRI_SCANNERS)
    ct_scans = [number for number in subset_of if number <= N_CT]
    labelled = [n for n in sorted(subset_of) if n > N_CT and subset_of[n] != "test"]
    scanners = {n: ct[place % len(ct)] for place, n in enumerate(ct_scans)}
    scanners |= {n: mri[1:][place % (len(mri) - 1)] for place, n in enumerate(labelled)}
    for number in range(N_CT + 1, N_CT + N_MRI + 1):
        beside = {scanners[number - 1], scanners.get(number + 1)}
        scanners.setdefault(number, next(one for one in mri if one not in beside))
    return scanners


def metadata_csv(patients: Iterable[Patient]) -> bytes:
    """Return the csv file: 500 CT rows, then 100 MR rows that start at 500 again."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, patient in enumerate(patients, start=1):
        writer.writerow((number if number <= N_CT else number - 1, *astuple(patient)))
    return text.getvalue().encode()


@dataclass(frozen=True)
class PlantedSample(Patient):
    """What was planted for one scan, and the patient of its row in the csv."""

    seq: str
    subset: str
    modality: str
    anatomy: str  # "F" or "M": label 15 is a uterus or a prostate, also when the csv is silent
    image: str  # POSIX, inside the archive's root
    mask_name: str  # likewise; "" without mask
    mask: str  # data type of the mask file, "none" without mask
    # As stored, (x, y, z): voxels of the volume without a trailing frame axis, and their size.
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    quirks: tuple[str, ...]  # what is odd, see `quirks.CT_QUIRKS`
    defect: str  # one of `DEFECTS`, or ""

    @property
    def sample_id(self) -> str:
        """The name that files and folders carry, "amos_0001"."""
        return f"amos_{self.seq}"


def plan_samples(
    n_ct: int, n_mri: int, size: str, seed: int, quirks: bool, defects: bool
) -> tuple[tuple[PlantedSample, ...], dict[int, Patient]]:
    """Return the samples to write, by seq, and all 600 patients, by number.

    Arguments are those of `write_archive`.
    """
    subsets = {n: _SUBSETS[place % 5] for scans in (_CT, _MRI) for place, n in enumerate(scans)}
    patients = _make_patients(seed, subsets)
    places = [("ct", place, "") for place in range(n_ct)]
    places += [("mri", place, "") for place in range(n_mri)]
    if defects:
        places += [("ct", place, defect) for place, defect in enumerate(DEFECTS, start=n_ct)]
    samples = []
    for modality, place, defect in places:
        number = (_CT if modality == "ct" else _MRI)[place]
        table = CT_QUIRKS if modality == "ct" else MRI_QUIRKS
        names = table[place % len(table)] if quirks and not defect else PLAIN
        anatomy = patients[number].sex
        missing = {name[8:]: "" for name in names if name.startswith("missing_")}
        patients[number] = replace(patients[number], **missing)
        shapes, spacings = SIZES[size][modality]
        sample = PlantedSample(
            **asdict(patients[number]),
            **_files(number, "train" if defect else subsets[number], names),
            modality=modality,
            anatomy=anatomy,
            shape=itemgetter(*ras_axes(names))(shapes[place % len(shapes)]),
            spacing_mm=itemgetter(*ras_axes(names))(spacings[place % len(spacings)]),
            defect=defect,
        )
        samples.append(sample if quirks else replace(sample, quirks=()))
    return tuple(sorted(samples, key=lambda sample: sample.seq)), patients


def _files(number: int, subset: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a `PlantedSample` that depend on whether there is a mask."""
    seq, suffix, labelled = f"{number:04d}", _SUFFIXES[subset], subset != "test"
    ending = "_0000.nii.gz" if "nnunet_name" in names else ".nii.gz"
    return {
        "seq": seq,
        "subset": subset,
        "image": f"images{suffix}/amos_{seq}{ending}",
        "mask_name": f"labels{suffix}/amos_{seq}.nii.gz" if labelled else "",
        "mask": mask_dtype(names) if labelled else "none",
        "quirks": tuple(one for one in names if labelled or not one.startswith("mask_")),
    }
