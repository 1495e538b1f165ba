"""The metadata table of the phantom archive, with the official table's habits.

The official csv has a row for each of the 600 scans, but counts MR scans from 500 instead of
501: scan N above 500 stands in the row of ``amos_id`` N - 1, and 500 occurs twice. Neighbouring
MR rows made here always differ in scanner and in sex, so that reading the wrong one shows.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

COLUMNS: Final = (
    "amos_id",
    "Patient's Birth Date",
    "Patient's Sex",
    "Patient's Age",
    "Manufacturer's Model Name",
    "Manufacturer",
    "Acquisition Date",
    "Site",
)
N_CT: Final = 500
N_MRI: Final = 100

MANUFACTURERS: Final = {
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
CT_SCANNERS: Final = tuple(MANUFACTURERS)[:5]
LABELLED_MRI_SCANNERS: Final = ("Prisma", "SIGNA HDe", "Achieva")
# Ingenia comes first: the unlabelled scans are its share, as in the real archive.
MRI_SCANNERS: Final = tuple(MANUFACTURERS)[5:]


@dataclass(frozen=True)
class Patient:
    """What the csv tells about one scan; a missing value is an empty string."""

    birth_date: str
    sex: str
    age: str
    scanner: str
    manufacturer: str
    acquisition_date: str
    site: str


def modality_of(number: int) -> str:
    """Return the modality of scan `number`: MR above 500."""
    return "ct" if number <= N_CT else "mri"


def csv_id_of(number: int) -> int:
    """``amos_id`` of the row that describes scan `number`: one less for MR."""
    return number if number <= N_CT else number - 1


def anatomy_of(number: int, seed: int) -> str:
    """Sex of the patient of scan `number`; neighbours differ, so that a wrong row shows."""
    return "FM"[(number + seed) % 2]


def make_patients(
    seed: int, subset_of: dict[int, str], missing: dict[int, tuple[str, ...]]
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
        Fields ("sex", "age") left empty, by scan number.

    Returns
    -------
    dict of int to Patient
        By scan number, 1..600.
    """
    rng = np.random.default_rng([seed, 600])
    patients: dict[int, Patient] = {}
    scanners = _scanners(subset_of)
    for number in range(1, N_CT + N_MRI + 1):
        sex = anatomy_of(number, seed)
        patients[number] = _patient(scanners[number], sex, missing.get(number, ()), rng)
    return patients


def _scanners(subset_of: dict[int, str]) -> dict[int, str]:
    """Scanner of each scan; scans of the archive go through the scanners in turn."""
    scanners = {}
    for position, number in enumerate(n for n in subset_of if n <= N_CT):
        scanners[number] = CT_SCANNERS[position % len(CT_SCANNERS)]
    for number in range(1, N_CT + 1):
        scanners.setdefault(number, CT_SCANNERS[number * 7 % 11 % len(CT_SCANNERS)])
    labelled = sorted(n for n, subset in subset_of.items() if n > N_CT and subset != "test")
    for position, number in enumerate(labelled):
        scanners[number] = LABELLED_MRI_SCANNERS[position % len(LABELLED_MRI_SCANNERS)]
    for number in range(N_CT + 1, N_CT + N_MRI + 1):
        if number not in scanners:
            beside = {scanners.get(number - 1), scanners.get(number + 1)}
            scanners[number] = next(one for one in MRI_SCANNERS if one not in beside)
    return scanners


def _patient(scanner: str, sex: str, missing: tuple[str, ...], rng: np.random.Generator) -> Patient:
    acquired = date(2016, 1, 1) + timedelta(days=int(rng.integers(0, 2000)))
    born = acquired - timedelta(days=int(rng.integers(365 * 22, 365 * 88)))
    had_birthday = (acquired.month, acquired.day) >= (born.month, born.day)
    age = acquired.year - born.year - (0 if had_birthday else 1)
    return Patient(
        birth_date=f"{born:%Y%m%d}",
        sex="" if "sex" in missing else sex,
        age="" if "age" in missing else f"{age:03d}Y",
        scanner=scanner,
        manufacturer=MANUFACTURERS[scanner],
        acquisition_date=f"{acquired:%Y%m%d}",
        site="center" if rng.random() < 0.7 else "people",
    )


def metadata_csv(patients: dict[int, Patient]) -> bytes:
    """Return the csv file: 500 CT rows, then 100 MR rows that start at 500 again."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, one in sorted(patients.items()):
        writer.writerow(
            (
                csv_id_of(number),
                one.birth_date,
                one.sex,
                one.age,
                one.scanner,
                one.manufacturer,
                one.acquisition_date,
                one.site,
            )
        )
    return text.getvalue().encode()
