"""The record of what is particular about a dataset: a field for each key of its file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import AliasChoices, Field, with_config

from amos_dask.datasets.described import MetadataFile, PublishedFile, Unlabelled
from amos_dask.datasets.forms import (
    MODALITIES,
    SUBSETS,
    Channels,
    Count,
    DatasetName,
    Labels,
    LabelValues,
    MaskGeometry,
    Modalities,
    Modality,
    Places,
    Prefix,
    Subset,
    Subsets,
    Text,
    is_every,
)
from amos_dask.datasets.places import ID, FileRule, Kind, ScanFile, fits, make_rule, number_seq
from amos_dask.labels import LabelMap, label_key
from amos_dask.strict_yaml import dump_yaml

# What stands in a definition where the archive's own dataset.json is to be asked.
FROM_DATASET_JSON = "from dataset.json"
FROM_ARCHIVE = ("name", "prefix", "labels", "modality", "channels")
WHOLE_FILE = "(the whole file)"  # no key of it
_Key = TypeVar("_Key")
_PARTS = ("{channel}", "{label}")  # of volumes, of masks
_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0*)?")


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
    volumes, masks : mapping of str or None to tuple of str
        Subset -> places of its scans or masks; None for all subsets.
    digits : int
        The least number of digits in their names.
    channels : mapping of str to tuple of str
        Name of a channel -> what stands for it in names of files; nothing where channels are the
        fourth axis of one file. Empty or one: scans have one channel.
    report_channel : str
        The channel that the report shows; empty for the first.
    subset_numbers : mapping of str to tuple of range
        Subset -> numbers of its scans, where that is the rule.
    subset_column : str
        Column of the metadata that tells a scan's subset; empty where none does.
    subset_lists : str
        JSON or YAML file of the archive that lists the ids of each subset; empty without one.
    subsets_with_masks : frozenset of str
        Subsets in which every scan ought to have a mask.
    dataset_json : mapping of str to str
        Section of ``dataset.json`` -> subset; empty where it does not tell subsets.
    modality_numbers : mapping of str to tuple of range
        Modality -> numbers of its scans.
    scanners : mapping of str to tuple of str
        Modality -> scanner models.
    unlabelled_mr_scanners : frozenset of str
        MR scanners that no labelled scan was made with.
    official_counts : mapping
        Subset -> modality -> number of scans; empty when unknown.
    metadata : MetadataFile or None
        The table of metadata; None for a dataset that has none.
    label_values : mapping of int to int
        Value in the archive's masks -> label; a value that is not listed stands for itself.
    precedence : {"later", "earlier"} or tuple of str
        Of masks with a file for each label: which label a voxel of several gets. The later one of
        the label map, the earlier one, or the later one of these names.
    denoised : {"all", "none"} or tuple of str
        Names of the labels that denoising may change.
    splits_prostate_uterus : bool
        Whether label 15 becomes 16 for female patients.
    mask_geometry : {"stored", "world"}
        Which order of voxels is right where a mask's grid is its scan's turned over and the scan's
        values do not tell: that in the file, or that which the mask's affine gives.
    published_zip : PublishedFile or None
        The download, where it is one zip file.
    unlabelled : Unlabelled
        Its scans without labels.
    case_names : {"sample_id", "id"}
        What an export calls a scan: by the id of its sample, or as the archive does.
    nnunet_id : int or None
        Number of its dataset for nnU-Net; the next two are those of CT and of MR alone.
    other_files : tuple of str
        Patterns of paths, with ``*``, of files that are no scans and nothing to be told of.
    url, licence, cite : str
        Where it is published, what it may be used for, what to cite; for people and exports.
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
    channels: Channels = field(default_factory=dict)
    report_channel: Text = ""
    subset_numbers: Annotated[Subsets, Field(alias="subsets")] = field(default_factory=dict)
    subset_column: Text = ""
    subset_lists: Text = ""
    subsets_with_masks: Annotated[frozenset[Subset], Field(alias="with_masks")] = frozenset()
    dataset_json: Mapping[Text, Subset] = field(default_factory=dict)
    modality_numbers: Annotated[Modalities, Field(alias="modality")] = field(default_factory=dict)
    scanners: Mapping[Modality, tuple[Text, ...]] = field(default_factory=dict)
    unlabelled_mr_scanners: Annotated[frozenset[Text], Field(alias="mr_scanners_without_masks")] = (
        frozenset()
    )
    official_counts: Mapping[Subset, Mapping[Modality, Count]] = field(default_factory=dict)
    metadata: MetadataFile | None = None
    label_values: LabelValues = field(default_factory=dict)
    precedence: Literal["later", "earlier"] | tuple[Text, ...] = "later"
    denoised: Annotated[Literal["all", "none"] | tuple[Text, ...], Field(alias="denoise")] = "all"
    splits_prostate_uterus: Annotated[bool, Field(alias="split_prostate_uterus")] = False
    mask_geometry: MaskGeometry = "world"
    published_zip: PublishedFile | None = None
    unlabelled: Unlabelled = field(default_factory=Unlabelled)
    case_names: Literal["sample_id", "id"] = "sample_id"
    nnunet_id: Annotated[int, Field(ge=1)] | None = None
    other_files: tuple[Text, ...] = ()
    # Version 0.1.0 called it `reference`.
    url: Annotated[Text, Field(validation_alias=AliasChoices("url", "reference"))] = ""
    licence: Text = ""
    cite: Text = ""
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
        tells_subset = self.subset_numbers or self.subset_column or self.subset_lists
        for key, places in (("volumes", self.volumes), ("masks", self.masks)):
            if None in places and not tells_subset:
                yield (
                    f"{key} name one place for all, so subsets must say which numbers are in "
                    "train, val and test, or subset_column or subset_lists who tells"
                )
        yield from self._mistakes_of_places()
        if self.subset_column and self.metadata is None:
            yield "subset_column needs metadata, whose column it names"
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
        yield from self._mistakes_of_labels()

    def _mistakes_of_places(self) -> Iterator[str]:
        for one, other in combinations(self.files, 2):
            if one.path.pattern == other.path.pattern:
                yield (
                    f"{one.example} would be two things; volumes and masks of each subset need "
                    "places of their own"
                )
        for rule in self.files:
            part, wrong = _PARTS if rule.kind == "volume" else _PARTS[::-1]
            where = f"{rule.place!r} in {rule.kind}s"
            if wrong in rule.place:
                yield f"{where} has {wrong}, which is for the others"
            if rule.kind == "mask" or "channels" in self.open_questions:
                continue
            if part in rule.place and not rule.spellings:
                yield f"{where} has {part}, so channels must say what stands there"
            if part not in rule.place and rule.spellings:
                yield f"{where} needs {part}, as channels have files of their own"
        if self.has_numbers and any("{id}" in rule.place for rule in self.files):
            yield "volumes and masks have {number} in some places and {id} in others"
        of_masks = [rule.place for rule in self.files if rule.kind == "mask"]
        if self.has_label_files and not all("{label}" in place for place in of_masks):
            yield "masks have {label} in some places only; each label has a file, or none has"

    def _mistakes_of_labels(self) -> Iterator[str]:
        if "labels" in self.open_questions:
            return
        known = {label_key(name) for name in self.label_map.names().values()}
        for key, names in (("precedence", self.precedence), ("denoise", self.denoised)):
            for name in names if isinstance(names, tuple) else ():
                if label_key(name) not in known:
                    yield f"{key} names {name!r}, which is none of the labels"
        for label in self.label_map.unknown(self.label_values.values()):
            yield f"label_values name the label {label}, which is none of the labels"
        if self.report_channel and self.report_channel not in self.channels:
            yield f"report_channel {self.report_channel!r} is none of the channels"

    @property
    def open_questions(self) -> tuple[str, ...]:
        """Which of `FROM_ARCHIVE` the archive's ``dataset.json`` has to tell."""
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
        if self.subset_column or self.subset_lists:
            return SUBSETS
        found = {*self.volumes, *self.masks, *self.subset_numbers}
        return tuple(subset for subset in SUBSETS if subset in found)

    @cached_property
    def files(self) -> tuple[FileRule, ...]:
        """Its scans and masks."""
        of_kind: tuple[tuple[Kind, Places, dict[str, int]], ...] = (
            ("volume", self.volumes, self._channel_spellings),
            ("mask", self.masks, self._label_spellings),
        )
        return tuple(
            make_rule(kind, subset, place, spellings, prefix=self.prefix, digits=self.digits)
            for kind, places, spellings in of_kind
            for subset, each in places.items()
            for place in each
        )

    @cached_property
    def _by_precision(self) -> list[FileRule]:
        return sorted(self.files, key=lambda rule: -rule.n_literal)

    @property
    def _channel_spellings(self) -> dict[str, int]:
        channels = enumerate(self.channels.values())
        return {name: channel for channel, names in channels for name in names}

    @property
    def _label_spellings(self) -> dict[str, int]:
        names = self.label_map.names().items()
        return {name.replace(" ", "_"): label for label, name in names if label}

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels; none where scans have but one."""
        return tuple(self.channels) if len(self.channels) > 1 else ()

    @property
    def pictured_channel(self) -> int:
        """The channel that the report shows."""
        return tuple(self.channels).index(self.report_channel) if self.report_channel else 0

    @property
    def has_channel_files(self) -> bool:
        """Whether each channel is a file; otherwise they are the fourth axis of one."""
        return any(self.channels.values())

    @property
    def has_label_files(self) -> bool:
        """Whether masks have a file for each label."""
        return any("{label}" in place for places in self.masks.values() for place in places)

    @cached_property
    def painting_order(self) -> tuple[int, ...]:
        """Labels in the order in which each overwrites those before it."""
        labels = tuple(label for label in self.label_map if label)
        if self.precedence == "later":
            return labels
        if self.precedence == "earlier":
            return labels[::-1]
        order = [label_key(name) for name in self.precedence]
        names = {label: label_key(name) for label, name in self.label_map.names().items()}
        return tuple(
            sorted(labels, key=lambda x: order.index(names[x]) if names[x] in order else -1)
        )

    def not_denoised(self, label_map: LabelMap) -> tuple[int, ...]:
        """Return the labels that denoising leaves as they are, by a map of labels."""
        if self.denoised == "all":
            return ()
        wanted = {label_key(name) for name in self.denoised} if self.denoised != "none" else set()
        names = label_map.names().items()
        return tuple(label for label, name in names if label and label_key(name) not in wanted)

    @property
    def example(self) -> str:
        """Return what one of its scans is called, for messages."""
        return next((rule for rule in self.files if "*" not in rule.place), self.files[0]).example

    def sample_id(self, seq: str) -> str:
        """Return the id of a scan, such as ``amos_0001``."""
        return f"{self.prefix}_{seq}"

    def case_name(self, seq: str) -> str:
        """Return what an export calls a scan."""
        return seq if self.case_names == "id" else self.sample_id(seq)

    @cached_property
    def has_numbers(self) -> bool:
        """Whether its scans are told apart by numbers, rather than by ids as they are."""
        return any("{number}" in rule.place for rule in self.files)

    def find_seq(self, text: str) -> str | None:
        """Return the seq that such as ``amos_0004``, ``4`` or ``4.0`` means; None for others."""
        seq = text.removeprefix(f"{self.prefix}_")
        if not self.has_numbers:
            return seq if re.fullmatch(ID, seq) else None
        match = _NUMBER.fullmatch(seq)
        return None if match is None else number_seq(int(match[1]))

    def scan_file(self, path: PurePosixPath) -> ScanFile | None:
        """Return what a file is by its name and folders; None for any other file."""
        # What is spelled out most tells most: a mask `{id}_seg` is no scan `{id}`.
        found = next((told for rule in self._by_precision if (told := rule.find(path))), None)
        if found is None or found.subset or not self.subset_numbers:
            return found
        subset = _find(found.seq, self.subset_numbers)
        return None if subset is None else found._replace(subset=subset)

    def is_passed_over(self, path: PurePosixPath) -> bool:
        """Return whether a file is one that the publishers put there besides."""
        return any(fits(place, path) for place in self.other_files)

    def seq_in(self, name: str) -> str | None:
        """Return the seq of the scan that a file name speaks of, wherever the file lies."""
        told = (rule.find_by_name(name) for rule in self._by_precision)
        return next((found.seq for found in told if found is not None), None)

    def id_modality(self, seq: str) -> Modality | None:
        """Return the modality that a scan's number tells, if it does."""
        return _find(seq, self.modality_numbers)

    def scanner_modality(self, scanner: str) -> Modality | None:
        """Return the modality of a scanner model, if it is one of the dataset's."""
        return next((key for key, models in self.scanners.items() if scanner in models), None)

    def modality(self, seq: str, scanner: str) -> str:
        """Return "ct", "mri" or "und": by the number, else by the scanner."""
        return self.id_modality(seq) or self.scanner_modality(scanner) or "und"

    def to_yaml(self) -> str:
        """Return the text of its file."""
        return dump_yaml(dict(self.content))


def _is_number(seq: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", seq) is not None


def _find(seq: str, numbers: Mapping[_Key, tuple[range, ...]]) -> _Key | None:
    number = int(seq) if _is_number(seq) else None
    return next(
        (k for k, each in numbers.items() if any(is_every(r) or number in r for r in each)), None
    )
