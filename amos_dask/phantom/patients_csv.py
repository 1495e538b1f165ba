"""The metadata csv of the phantom archive, with the official table's habits.

The official csv has a row for each of the 600 scans, but counts MR scans from 500 instead of
501: scan N above 500 stands in the row of ``amos_id`` N - 1, and 500 occurs twice. Neighbouring
MR rows made here always differ in scanner and in sex, so that reading the wrong one shows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final, NamedTuple

import numpy as np

N_CT: Final = 500
N_MRI: Final = 100

_COLUMNS: Final = (
    "amos_id", "Patient's Birth Date", "Patient's Sex", "Patient's Age",
    "Manufacturer's Model Name", "Manufacturer", "Acquisition Date", "Site",
)  # fmt: skip
_MANUFACTURERS: Final = {
    "Aquilion ONE": "TOSHIBA",
    "Brilliance16": "Philips",
    "SOMATOM Force": "SIEMENS",
    "Optima CT660": "GE MEDICAL SYSTEMS",
    "Optima CT540": "GE MEDICAL SYSTEMS",
    "Ingenia": "Philips",
    "Prisma": "SIEMENS",
    "SIGNA HDe": "GE MEDICAL SYSTEMS",
    "Achieva": "Philips",
}
_CT_SCANNERS: Final = tuple(_MANUFACTURERS)[:5]
# Ingenia comes first: the unlabelled scans are its share, as in the real archive.
_MRI_SCANNERS: Final = tuple(_MANUFACTURERS)[5:]


class Patient(NamedTuple):
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


def make_patients(
    seed: int, subset_of: Mapping[int, str], missing: Mapping[int, tuple[str, ...]]
) -> dict[int, Patient]:
    """Make up a patient for each of the 600 scans.

    Parameters
    ----------
    seed
        Seed of the archive.
    subset_of
        Subset of the scans in the archive, by number; labelled MR scans never come from an
        Ingenia, those of "test" may.
    missing
        Fields left empty ("sex", "age"), by number.

    Returns
    -------
    dict of int to Patient
        By scan number, 1..600.
    """
    rng = np.random.default_rng([seed, 600])
    scanners = _scanners(subset_of)
    patients = {}
    for number in range(1, N_CT + N_MRI + 1):
        acquired = date(2016, 1, 1) + timedelta(days=int(rng.integers(0, 2000)))
        born = acquired - timedelta(days=int(rng.integers(365 * 22, 365 * 88)))
        had_birthday = (acquired.month, acquired.day) >= (born.month, born.day)
        patient = Patient(
            birth_date=f"{born:%Y%m%d}",
            sex=anatomy_of(number, seed),
            age=f"{acquired.year - born.year - (not had_birthday):03d}Y",
            scanner=scanners[number],
            manufacturer=_MANUFACTURERS[scanners[number]],
            acquisition_date=f"{acquired:%Y%m%d}",
            site="center" if rng.random() < 0.7 else "people",
        )
        patients[number] = patient._replace(**dict.fromkeys(missing.get(number, ()), ""))
    return patients


def _scanners(subset_of: Mapping[int, str]) -> dict[int, str]:
    """Scanner of each scan; scans of the archive go through the scanners in turn."""
    scanners = {n: _CT_SCANNERS[n * 7 % 11 % len(_CT_SCANNERS)] for n in range(1, N_CT + 1)}
    for position, number in enumerate(n for n in subset_of if n <= N_CT):
        scanners[number] = _CT_SCANNERS[position % len(_CT_SCANNERS)]
    labelled = sorted(n for n, subset in subset_of.items() if n > N_CT and subset != "test")
    for position, number in enumerate(labelled):
        scanners[number] = _MRI_SCANNERS[1 + position % (len(_MRI_SCANNERS) - 1)]
    for number in range(N_CT + 1, N_CT + N_MRI + 1):
        if number not in scanners:
            beside = {scanners[number - 1], scanners.get(number + 1)}
            scanners[number] = next(one for one in _MRI_SCANNERS if one not in beside)
    return scanners


def metadata_csv(patients: Mapping[int, Patient]) -> bytes:
    """Return the csv file: 500 CT rows, then 100 MR rows that start at 500 again."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, patient in sorted(patients.items()):
        writer.writerow((number if number <= N_CT else number - 1, *patient))
    return text.getvalue().encode()
