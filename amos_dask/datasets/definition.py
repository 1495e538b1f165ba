"""The record of what is particular about a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from amos_dask.labels import LabelMap
from amos_dask.strict_yaml import dump_yaml

SUBSETS = ("train", "val", "test")
MODALITIES = ("ct", "mri", "und")
# Fields of a metadata row, in the csv's order.
METADATA_FIELDS = (
    "birth_date",
    "sex",
    "age",
    "manufacturer_model_name",
    "manufacturer",
    "acquisition_date",
    "site",
)
NEVER = re.compile(r"(?!)")
# What stands in a definition where the archive's own dataset.json is to be asked.
FROM_DATASET_JSON = "from dataset.json"
FROM_ARCHIVE = ("name", "prefix", "labels", "modality")


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
class MetadataCsv:
    """The csv file that tells of the scans.

    Parameters
    ----------
    files : str
        Pattern of its name, with ``*``.
    official_file : str
        The name that is preferred where several files fit.
    id_column : str
        Column of the scans' numbers.
    columns : mapping of str to str
        Field of `Metadata` -> column.
    mr_rows_may_be_shifted : bool
        Whether MR scan N may stand in row N - 1, as in AMOS22.
    """

    files: str
    official_file: str
    id_column: str
    columns: Mapping[str, str]
    mr_rows_may_be_shifted: bool = False

    def is_name_of(self, name: str) -> bool:
        """Return whether a file name fits, in upper or lower case."""
        pattern = ".*".join(map(re.escape, self.files.split("*")))
        return re.fullmatch(pattern, name, re.IGNORECASE) is not None


@dataclass(frozen=True)
class FileRule:
    """Files of one kind.

    Parameters
    ----------
    kind : {"volume", "mask"}
        What they are.
    subset : str or None
        Their subset; None where the scan's number tells it.
    folder : str
        The folder they lie in, or empty for any.
    file_name : re.Pattern
        Their names; the first group is the scan's number. Forms of images that cannot be read
        match too: such a scan is an error and not a stray file.
    example : str
        Such a file, for messages.
    """

    kind: Literal["volume", "mask"]
    subset: str | None
    folder: str
    file_name: re.Pattern[str]
    example: str


@dataclass(frozen=True)
class ScanFile:
    """What the name of a scan's file tells.

    Parameters
    ----------
    number : int
        The scan's.
    kind : {"volume", "mask"}
        What the file is.
    subset : {"train", "val", "test"}
        Official subset.
    """

    number: int
    kind: Literal["volume", "mask"]
    subset: str


@dataclass(frozen=True)
class DatasetDefinition:
    """Names, labels, modality rule, metadata and official counts of a dataset.

    Parameters
    ----------
    name : str
        For messages and exports.
    prefix : str
        Before the number in the ids of samples; in capitals, before the modality in the names of
        folders.
    label_map : LabelMap
        Its labels, unless somebody gives another map.
    files : tuple of FileRule
        Its scans and masks.
    subset_ranges : tuple of (int, int, str)
        First number, last number (inclusive) and their subset, where that is the rule.
    subsets_with_masks : frozenset of str
        Subsets in which every scan ought to have a mask.
    dataset_json : mapping of str to str
        Section of ``dataset.json`` -> subset; empty for a dataset without that file.
    id_modalities : tuple of (int, int, str)
        First number, last number (inclusive) and their modality.
    scanners : mapping of str to str
        Scanner model -> modality.
    unlabelled_mr_scanners : frozenset of str
        MR scanners that no labelled scan was made with.
    official_counts : mapping
        (subset, modality) -> number of scans; empty when unknown.
    metadata : MetadataCsv or None
        The csv file; None for a dataset that has none.
    splits_prostate_uterus : bool
        Whether label 15 becomes 16 for female patients.
    published_zip : PublishedZip or None
        The download, where it is one zip file.
    unlabelled_files : tuple of str
        Names of the files of scans without labels, as they are published.
    unlabelled_zip, unlabelled_csv : re.Pattern
        Match the name of such a zip, whose first group is the modality, and of its metadata.
    damaged_numbers : frozenset of int
        Scans whose published file is damaged.
    nnunet_id : int or None
        Number of its dataset for nnU-Net; the next two are those of CT and of MR alone.
    reference, licence : str
        For exports.
    open_questions : tuple of str
        Which of name, prefix, labels and modality the archive's ``dataset.json`` has to tell.
    content : mapping
        What its file says.
    """

    name: str
    prefix: str
    label_map: LabelMap
    files: tuple[FileRule, ...]
    subset_ranges: tuple[tuple[int, int, str], ...]
    subsets_with_masks: frozenset[str]
    dataset_json: Mapping[str, str]
    id_modalities: tuple[tuple[int, int, str], ...]
    scanners: Mapping[str, str]
    unlabelled_mr_scanners: frozenset[str]
    official_counts: Mapping[tuple[str, str], int]
    metadata: MetadataCsv | None = None
    splits_prostate_uterus: bool = False
    published_zip: PublishedZip | None = None
    unlabelled_files: tuple[str, ...] = ()
    unlabelled_zip: re.Pattern[str] = NEVER
    unlabelled_csv: re.Pattern[str] = NEVER
    damaged_numbers: frozenset[int] = frozenset()
    nnunet_id: int | None = None
    reference: str = ""
    licence: str = ""
    open_questions: tuple[str, ...] = ()
    content: Mapping[str, object] = field(default_factory=dict, repr=False)

    @property
    def first_mr_number(self) -> int:
        """Number of the first MR scan."""
        return min(first for first, _, modality in self.id_modalities if modality == "mri")

    @property
    def last_mr_number(self) -> int:
        """Number of the last MR scan."""
        return max(last for _, last, modality in self.id_modalities if modality == "mri")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that its scans may have, "ct" first."""
        found = {modality for _, _, modality in self.id_modalities} | {*self.scanners.values()}
        return tuple(name for name in ("ct", "mri", "und") if name in found)

    @property
    def subsets(self) -> tuple[str, ...]:
        """Subsets that its scans may be in, "train" first."""
        found = {rule.subset for rule in self.files} | {subset for *_, subset in self.subset_ranges}
        return tuple(name for name in ("train", "val", "test") if name in found)

    @property
    def example(self) -> str:
        """Return what one of its scans is called, for messages."""
        return self.files[0].example

    def sample_id(self, number: int) -> str:
        """Return the id of a scan, such as ``amos_0001``."""
        return f"{self.prefix}_{number:04d}"

    def scan_file(self, path: PurePosixPath) -> ScanFile | None:
        """Return what a file is by its name and folder; None for any other file."""
        for rule in self.files:
            match = rule.file_name.fullmatch(path.name)
            if match is not None and rule.folder in ("", path.parent.name):
                number = int(match[1])
                subset = rule.subset or self._subset_of(number)
                return None if subset is None else ScanFile(number, rule.kind, subset)
        return None

    def number_of(self, name: str) -> int | None:
        """Return the number of the scan that a file name speaks of, wherever the file lies."""
        matches = (rule.file_name.fullmatch(name) for rule in self.files)
        return next((int(match[1]) for match in matches if match is not None), None)

    def _subset_of(self, number: int) -> str | None:
        return _find(number, self.subset_ranges)

    def id_modality(self, number: int) -> str | None:
        """Return the modality that a scan's number tells, if it does."""
        return _find(number, self.id_modalities)

    def modality(self, number: int, scanner: str) -> str:
        """Return "ct", "mri" or "und": by the number, else by the scanner."""
        return self.id_modality(number) or self.scanners.get(scanner, "und")

    def to_yaml(self) -> str:
        """Return the text of its file."""
        return dump_yaml(dict(self.content))


def _find(number: int, ranges: tuple[tuple[int, int, str], ...]) -> str | None:
    return next((name for first, last, name in ranges if first <= number <= last), None)
