"""What a dataset's names, labels and scanners mean. AMOS22 is the first definition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from amos_dask.records import UNDEFINED, Kind

_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True)
class PublishedZip:
    """The dataset's zip file as its publishers describe it.

    Parameters
    ----------
    where : str
        The page it is downloaded from.
    md5 : str
        Its MD5.
    n_bytes, n_bytes_uncertain : int
        Its size, and by how much that may be off: the page shows three digits.
    name : str
        Its name there.
    """

    where: str
    md5: str
    n_bytes: int
    n_bytes_uncertain: int = 0
    name: str = "amos22.zip"


@dataclass(frozen=True)
class DatasetDefinition:
    """Names, modality rule and official counts of a dataset.

    Parameters
    ----------
    name : str
        For messages.
    folders : mapping
        Folder name -> (kind of file, subset).
    file_name : re.Pattern
        Matches the name of a scan's file; its first group is the scan's number. Forms of images
        that cannot be read match too: such a scan is an error and not a stray file.
    id_modalities : tuple of (int, int, str)
        First number, last number (inclusive) and their modality.
    scanners : mapping
        Scanner model -> modality.
    unlabelled_mr_scanners : frozenset of str
        MR scanners that no labelled scan was made with.
    official_counts : mapping
        (subset, modality) -> number of scans.
    published_zip : PublishedZip or None
        The download, where it is one zip file.
    unlabelled_files : tuple of str
        Names of the files of scans without labels, as they are published.
    unlabelled_zip, unlabelled_csv : re.Pattern
        Match the name of such a zip, whose first group is the modality, and of its metadata.
    damaged_numbers : frozenset of int
        Scans whose published file is damaged.
    """

    name: str
    folders: Mapping[str, tuple[Kind, str]]
    file_name: re.Pattern[str]
    id_modalities: tuple[tuple[int, int, str], ...]
    scanners: Mapping[str, str]
    unlabelled_mr_scanners: frozenset[str]
    official_counts: Mapping[tuple[str, str], int]
    published_zip: PublishedZip | None = None
    unlabelled_files: tuple[str, ...] = ()
    unlabelled_zip: re.Pattern[str] = _NEVER
    unlabelled_csv: re.Pattern[str] = _NEVER
    damaged_numbers: frozenset[int] = frozenset()

    @property
    def first_mr_number(self) -> int:
        """Number of the first MR scan."""
        return min(first for first, _, modality in self.id_modalities if modality == "mri")

    @property
    def last_mr_number(self) -> int:
        """Number of the last MR scan."""
        return max(last for _, last, modality in self.id_modalities if modality == "mri")

    def id_modality(self, number: int) -> str | None:
        """Return the modality that a scan's number tells, if it does."""
        for first, last, modality in self.id_modalities:
            if first <= number <= last:
                return modality
        return None

    def modality(self, number: int, scanner: str) -> str:
        """Return "ct", "mri" or "und": by the number, else by the scanner."""
        return self.id_modality(number) or self.scanners.get(scanner, UNDEFINED.lower())


AMOS22 = DatasetDefinition(
    name="AMOS22",
    folders={
        "imagesTr": ("volume", "train"),
        "labelsTr": ("mask", "train"),
        "imagesVa": ("volume", "val"),
        "labelsVa": ("mask", "val"),
        "imagesTs": ("volume", "test"),
        "labelsTs": ("mask", "test"),
    },
    file_name=re.compile(r"amos_([0-9]{4,9})(?:_0000)?\.(?:nii|hdr|img)(?:\.gz)?"),
    # The official readme says "less than 500" for CT; scan 500 is a CT too.
    id_modalities=((1, 500, "ct"), (501, 600, "mri")),
    scanners={
        "Aquilion ONE": "ct",
        "Brilliance16": "ct",
        "SOMATOM Force": "ct",
        "Optima CT660": "ct",
        "Optima CT540": "ct",
        "Ingenia": "mri",
        "Prisma": "mri",
        "SIGNA HDe": "mri",
        "Achieva": "mri",
    },
    unlabelled_mr_scanners=frozenset({"Ingenia"}),
    official_counts={
        ("train", "ct"): 200,
        ("train", "mri"): 40,
        ("val", "ct"): 100,
        ("val", "mri"): 20,
        ("test", "ct"): 200,
        ("test", "mri"): 40,
    },
    published_zip=PublishedZip(
        where="https://zenodo.org/records/7262581",
        md5="67717b2a483ac0744c89c3016b7aaef7",
        n_bytes=24_200_000_000,
        n_bytes_uncertain=50_000_000,
    ),
    unlabelled_files=(
        *(f"unlabeled_data_meta_{ids}.csv" for ids in ("5000_5399", "5400_5899", "5900_6199")),
        *(
            f"amos22_unlabeled_{part}.zip"
            for part in ("ct_5000_5399", "ct_5400_5899", "ct_5900_6199", "ct_6200_6899")
        ),
        "amos22_unlabeled_mri_7000_8199.zip",
    ),
    unlabelled_zip=re.compile(r"amos22_unlabeled_(ct|mri)_[0-9_]+\.zip", re.IGNORECASE),
    unlabelled_csv=re.compile(r"unlabeled_data_meta.*\.csv", re.IGNORECASE),
    damaged_numbers=frozenset({5437, 5514}),
)
