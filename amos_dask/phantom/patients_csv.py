"""The metadata csv of the phantom archive, with the official table's habits.

The official csv has a row for each of the 600 scans, but counts MR scans from 500 instead of
501: scan N above 500 stands in the row of ``amos_id`` N - 1, and 500 occurs twice. Neighbouring
MR rows made here always differ in scanner and in sex, so that reading the wrong one shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

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


def anatomy_of(number: int, seed: int) -> str:
    """Sex of the patient of scan `number`; neighbours differ, so that a wrong row shows."""
    return "FM"[(number + seed) % 2]


def make_patients(seed: int, subset_of: Mapping[int, str]) -> dict[int, Patient]:
    """Make up a patient for each of the 600 scans.

    Parameters
    ----------
    seed
        Seed of the archive.
    subset_of
        Subset of every scan; only MR scans of "test" come from an Ingenia.

    Returns
    -------
    dict of int to Patient
        By scan number, 1..600.
    """
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
            sex=anatomy_of(number, seed),
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
