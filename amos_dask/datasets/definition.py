"""The record of what is particular about a dataset: a field for each key of its file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import PurePosixPath
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import Field, with_config

from amos_dask.datasets.forms import (
    MODALITIES,
    NEVER,
    SUBSETS,
    Count,
    DatasetName,
    Labels,
    MaskGeometry,
    MetadataField,
    Modalities,
    Modality,
    NamePattern,
    NumbersBy,
    Places,
    Prefix,
    Subset,
    Text,
    name_pattern,
)
from amos_dask.strict_yaml import dump_yaml

# What stands in a definition where the archive's own dataset.json is to be asked.
FROM_DATASET_JSON = "from dataset.json"
FROM_ARCHIVE = ("name", "prefix", "labels", "modality")
WHOLE_FILE = "(the whole file)"  # no key of it
# nnU-Net's names of images end in the channel's number.
_ENDING = r"(?:_0000)?\.(?:nii|hdr|img)(?:\.gz)?"
Kind = Literal["volume", "mask"]
_Key = TypeVar("_Key")


class FileRule(NamedTuple):
    """Files of one kind, and of one subset.

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

    kind: Kind
    subset: Subset | None
    folder: str
    file_name: re.Pattern[str]
    example: str


class ScanFile(NamedTuple):
    """What the name of a scan's file tells: number, kind and official subset."""

    number: int
    kind: Kind
    subset: Subset


@with_config(extra="forbid")
@dataclass(frozen=True)
class PublishedFile:
    """A file, such as the dataset's zip, as its publishers describe it.

    Parameters
    ----------
    where : str
        The page it is downloaded from, or its own URL.
    md5 : str or None
        Its MD5; None when nobody tells.
    n_bytes, n_bytes_uncertain : int
        Its size, 0 when nobody tells, and by how much that may be off: the page shows three digits.
    name : str
        A plain name, never a path.
    """

    where: Text
    md5: Text | None
    n_bytes: Count = 0
    n_bytes_uncertain: Count = 0
    name: Text = "amos22.zip"

    def fits(self, n_bytes: int) -> bool:
        """Return whether a file of this size can be the published one."""
        return not self.n_bytes or abs(n_bytes - self.n_bytes) <= self.n_bytes_uncertain


@with_config(extra="forbid")
@dataclass(frozen=True)
class Unlabelled:
    """Files of scans without labels, which lie beside the archive.

    Parameters
    ----------
    published : tuple of str
        Their names, as they are published.
    zips, csvs : re.Pattern
        Match the name of such a zip, whose first group is the modality, and of its metadata.
    damaged : frozenset of int
        Scans whose published file is damaged.
    """

    published: tuple[Text, ...] = ()
    zips: NamePattern = NEVER
    csvs: NamePattern = NEVER
    damaged: frozenset[Count] = frozenset()


@with_config(extra="forbid")
@dataclass(frozen=True)
class MetadataCsv:
    """The csv file that tells of the scans.

    Parameters
    ----------
    files : str
        Pattern of its name, with ``*``.
    id_column : str
        Column of the scans' numbers.
    official_file : str
        The name that is preferred where several files fit.
    columns : mapping of str to str
        Field of `Metadata` -> column.
    mr_rows_may_be_shifted : bool
        Whether MR scan N may stand in row N - 1, as in AMOS22.
    """

    files: Text
    id_column: Annotated[Text, Field(alias="id")]
    official_file: str = ""
    columns: Mapping[MetadataField, Text] = field(default_factory=dict)
    mr_rows_may_be_shifted: bool = False

    def is_name_of(self, name: str) -> bool:
        """Return whether a file name fits, in upper or lower case."""
        return name_pattern(self.files).fullmatch(name) is not None


@with_config(extra="forbid")
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
    volumes, masks : mapping of str or None to str
        Subset -> folder and name of its scans or masks; None for all subsets.
    digits : int
        The least number of digits in their names.
    subset_numbers : mapping of str to tuple of range
        Subset -> numbers of its scans, where that is the rule.
    subsets_with_masks : frozenset of str
        Subsets in which every scan ought to have a mask.
    dataset_json : mapping of str to str
        Section of ``dataset.json`` -> subset; empty for a dataset without that file.
    modality_numbers : mapping of str to tuple of range
        Modality -> numbers of its scans.
    scanners : mapping of str to tuple of str
        Modality -> scanner models.
    unlabelled_mr_scanners : frozenset of str
        MR scanners that no labelled scan was made with.
    official_counts : mapping
        Subset -> modality -> number of scans; empty when unknown.
    metadata : MetadataCsv or None
        The csv file; None for a dataset that has none.
    splits_prostate_uterus : bool
        Whether label 15 becomes 16 for female patients.
    mask_geometry : {"stored", "world"}
        Which order of voxels is right where a mask's grid is its scan's turned over and the scan's
        values do not tell: that in the file, or that which the mask's affine gives.
    published_zip : PublishedFile or None
        The download, where it is one zip file.
    unlabelled : Unlabelled
        Its scans without labels.
    nnunet_id : int or None
        Number of its dataset for nnU-Net; the next two are those of CT and of MR alone.
    reference, licence : str
        For exports.
    content : mapping
        What its file says.

    Raises
    ------
    ValueError
        When what several keys say does not go together.
    """

    name: DatasetName
    prefix: Prefix
    label_map: Annotated[Labels, Field(alias="labels")]
    volumes: Places
    masks: Places = field(default_factory=dict)
    digits: Annotated[int, Field(ge=1, le=9)] = 1
    subset_numbers: Annotated[NumbersBy[Subset], Field(alias="subsets")] = field(
        default_factory=dict
    )
    subsets_with_masks: Annotated[frozenset[Subset], Field(alias="with_masks")] = frozenset()
    dataset_json: Mapping[Text, Subset] = field(default_factory=dict)
    modality_numbers: Annotated[Modalities, Field(alias="modality")] = field(default_factory=dict)
    scanners: Mapping[Modality, tuple[Text, ...]] = field(default_factory=dict)
    unlabelled_mr_scanners: Annotated[frozenset[Text], Field(alias="mr_scanners_without_masks")] = (
        frozenset()
    )
    official_counts: Mapping[Subset, Mapping[Modality, Count]] = field(default_factory=dict)
    metadata: MetadataCsv | None = None
    splits_prostate_uterus: Annotated[bool, Field(alias="split_prostate_uterus")] = False
    mask_geometry: MaskGeometry = "world"
    published_zip: PublishedFile | None = None
    unlabelled: Unlabelled = field(default_factory=Unlabelled)
    nnunet_id: Annotated[int, Field(ge=1)] | None = None
    reference: Text = ""
    licence: Text = ""
    content: Annotated[Mapping[str, object], Field(alias=WHOLE_FILE)] = field(
        default_factory=dict, repr=False
    )

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise ValueError(mistake)

    def _mistakes(self) -> Iterator[str]:
        """Yield what in several keys does not go together."""
        if not self.volumes:
            yield "volumes are missing"
        for key, places in (("volumes", self.volumes), ("masks", self.masks)):
            if None in places and not self.subset_numbers:
                yield (
                    f"{key} name one place for all, so subsets must say which numbers are in "
                    "train, val and test"
                )
        for one, other in combinations(self.files, 2):
            if (one.folder, one.file_name) == (other.folder, other.file_name):
                yield (
                    f"{one.example} would be two things; volumes and masks of each subset need "
                    "places of their own"
                )
        if self.open_questions and not self.dataset_json:
            yield (
                f"{self.open_questions[0]} is to come from dataset.json, so dataset_json must say "
                "which of its sections is which subset"
            )
        if not (self.modality_numbers or self.scanners or "modality" in self.open_questions):
            yield "modality is missing"
        for scanner in self.unlabelled_mr_scanners:
            if self.scanner_modality(scanner) is None:
                yield f"{scanner!r} in mr_scanners_without_masks is none of the scanners"
        is_shifted = self.metadata is not None and self.metadata.mr_rows_may_be_shifted
        if is_shifted and not self.modality_numbers.get("mri"):
            yield "mr_rows_may_be_shifted needs the numbers of mri in modality"
        if self.splits_prostate_uterus and self.label_map.unknown((15, 16)):
            yield "split_prostate_uterus needs the labels 15 and 16"

    @property
    def open_questions(self) -> tuple[str, ...]:
        """Which of name, prefix, labels and modality ``dataset.json`` has to tell."""
        return tuple(key for key in FROM_ARCHIVE if self.content.get(key) == FROM_DATASET_JSON)

    @property
    def mr_numbers(self) -> range:
        """Numbers from the first MR scan to the last."""
        numbers = self.modality_numbers["mri"]
        return range(min(each.start for each in numbers), max(each.stop for each in numbers))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that its scans may have, "ct" first."""
        return tuple(m for m in MODALITIES if m in self.modality_numbers or self.scanners.get(m))

    @property
    def subsets(self) -> tuple[str, ...]:
        """Subsets that its scans may be in, "train" first."""
        found = {*self.volumes, *self.masks, *self.subset_numbers}
        return tuple(subset for subset in SUBSETS if subset in found)

    @cached_property
    def files(self) -> tuple[FileRule, ...]:
        """Its scans and masks."""
        volumes = [self._rule("volume", *place) for place in self.volumes.items()]
        return (*volumes, *(self._rule("mask", *place) for place in self.masks.items()))

    def _rule(self, kind: Kind, subset: Subset | None, place: str) -> FileRule:
        place = place.replace("{prefix}", self.prefix).removesuffix("{number}")
        folder, _, name = place.rpartition("/")
        pattern = re.compile(f"{re.escape(name)}([0-9]{{{self.digits},9}}){_ENDING}")
        return FileRule(kind, subset, folder, pattern, f"{place}{1:0{self.digits}d}.nii.gz")

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
                subset = rule.subset or _find(number, self.subset_numbers)
                return None if subset is None else ScanFile(number, rule.kind, subset)
        return None

    def number_of(self, name: str) -> int | None:
        """Return the number of the scan that a file name speaks of, wherever the file lies."""
        matches = (rule.file_name.fullmatch(name) for rule in self.files)
        return next((int(match[1]) for match in matches if match is not None), None)

    def id_modality(self, number: int) -> Modality | None:
        """Return the modality that a scan's number tells, if it does."""
        return _find(number, self.modality_numbers)

    def scanner_modality(self, scanner: str) -> Modality | None:
        """Return the modality of a scanner model, if it is one of the dataset's."""
        return next((key for key, models in self.scanners.items() if scanner in models), None)

    def modality(self, number: int, scanner: str) -> str:
        """Return "ct", "mri" or "und": by the number, else by the scanner."""
        return self.id_modality(number) or self.scanner_modality(scanner) or "und"

    def to_yaml(self) -> str:
        """Return the text of its file."""
        return dump_yaml(dict(self.content))


def _find(number: int, numbers: Mapping[_Key, tuple[range, ...]]) -> _Key | None:
    return next((key for key, each in numbers.items() if any(number in r for r in each)), None)
