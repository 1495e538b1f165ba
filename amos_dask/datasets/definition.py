"""The record of what is particular about a dataset, and which files are its scans and masks.

The record has a field for each key of the dataset's file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, TypeVar
from urllib.parse import quote

from pydantic import AliasChoices, Field, with_config

from amos_dask.datasets.forms import (
    EVERY_NUMBER,
    MODALITIES,
    PLACEHOLDER,
    SUBSETS,
    Channels,
    Count,
    DatasetName,
    Kind,
    Labels,
    LabelValues,
    MaskGeometry,
    MetadataFile,
    Modalities,
    Modality,
    Places,
    Prefix,
    PublishedFile,
    PublishedTasks,
    Subset,
    Subsets,
    Text,
    Unlabelled,
)
from amos_dask.file_refs import IMAGE_ENDING
from amos_dask.handwritten import dump_yaml
from amos_dask.labels import LabelMap, label_key

# What stands in a definition where the archive's own dataset.json is to be asked.
FROM_DATASET_JSON = "from dataset.json"
FROM_ARCHIVE = ("name", "prefix", "labels", "modality", "channels")
WHOLE_FILE = "(the whole file)"  # no key of it
_Key = TypeVar("_Key")
_SEQ_DIGITS = 4  # at least, of a scan's number in its id
# An id that is no number; it begins and ends as names of files may, on every system.
_ID = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}?[A-Za-z0-9_-])?"
# nnU-Net's names of images end in the channel's number.
_CHANNEL_0 = r"(?:_0000)?"
_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0*)?")


class ScanFile(NamedTuple):
    """What the path of a scan's file tells."""

    seq: str  # the scan's number with at least four digits, or its id
    kind: Kind
    subset: Subset | None  # None where its place does not tell
    part: int  # of a volume the channel, from 0; of a mask its only label, or 0 where it holds all


class FileRule(NamedTuple):
    """Files of one kind and one subset."""

    kind: Kind
    subset: Subset | None  # None where something else tells it
    place: str  # their folders and name, with placeholders
    path: re.Pattern[str]  # as far as the place tells it
    name: re.Pattern[str]  # alone
    spellings: Mapping[str, int]  # what stands for {channel} or {label} -> channel or label
    folder: str  # the innermost; empty for any, or where its name tells the scan
    example: str  # such a file, for messages
    n_literal: int  # how much of the place is spelled out

    def find(self, path: str) -> ScanFile | None:
        """Return what a file is; None where it is none of these."""
        return self.tell(self.path.fullmatch(_end(path, self.place)))

    def tell(self, match: re.Match[str] | None) -> ScanFile | None:
        """Return what a match of `path` or `name` tells; None where it does not tell the scan."""
        told = match.groupdict() if match is not None else {}
        if not told.keys() & {"number", "id"}:
            return None
        seq = told["id"] if "id" in told else number_seq(int(told["number"]))
        part = self.spellings[told["part"]] if "part" in told else 0
        return ScanFile(seq, self.kind, self.subset, part)


def fits(place: str, path: str) -> bool:
    """Return whether a path ends as a place without placeholders says; ``*`` is no ``/``."""
    return re.fullmatch(_literal(place), _end(path, place)) is not None


def number_seq(number: int) -> str:
    """Return how a scan's number is written in its id: with at least four digits."""
    return f"{number:0{_SEQ_DIGITS}d}"


def _make_rule(
    kind: Kind,
    subset: Subset | None,
    place: str,
    spellings: Mapping[str, int],
    *,
    prefix: str,
    digits: int,
) -> FileRule:
    """Return what a place stands for; at least so many digits are in ``{number}``."""
    place = place.replace("{prefix}", prefix)
    folder, _, name = place.rpartition("/")
    folder = folder.rpartition("/")[2]
    part = "|".join(sorted(map(re.escape, spellings), key=len, reverse=True))
    patterns = {"number": f"[0-9]{{{digits},9}}", "id": _ID, "channel": part, "label": part}
    first = next(iter(spellings), "")
    examples = {"number": "1".zfill(digits), "id": "case-1", "channel": first, "label": first}
    # Forms of images that cannot be read match too: such a scan is an error and not a stray file.
    ending = (_CHANNEL_0 if place.endswith("{number}") else "") + IMAGE_ENDING
    return FileRule(
        kind,
        subset,
        place,
        re.compile(_pattern(place, patterns) + ending, re.ASCII),
        re.compile(_pattern(name, patterns) + ending, re.ASCII),
        spellings,
        "" if "{" in folder else folder,
        PLACEHOLDER.sub(lambda found: examples[found[1]], place) + ".nii.gz",
        len(PLACEHOLDER.sub("", place).replace("*", "")),
    )


def _pattern(place: str, patterns: Mapping[str, str]) -> str:
    """Return a pattern with a group for each placeholder, which is the same wherever it stands."""
    pattern, known = "", set[str]()
    for n, piece in enumerate(PLACEHOLDER.split(place)):  # every second is a placeholder's name
        group = piece if piece in ("number", "id") else "part"
        if n % 2 == 0:
            pattern += _literal(piece)
        elif group in known:
            pattern += f"(?P={group})"
        else:
            pattern += f"(?P<{group}>{patterns[piece]})"
            known.add(group)
    return pattern


def _end(path: str, place: str) -> str:
    """Return as much of a path as a place tells."""
    pieces = [piece for piece in path.split("/") if piece not in ("", ".")]
    return "/".join(pieces[-1 - place.count("/") :])


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*")


@with_config(extra="forbid")
@dataclass(frozen=True)
class DatasetDefinition:
    """Names, labels, modality rule, metadata and official counts of a dataset.

    The documents tell what people write; here stands what it means in the program.
    """

    name: DatasetName
    # Before the number in ids of samples; in capitals, before the modality in names of folders.
    prefix: Prefix
    label_map: Annotated[Labels, Field(alias="labels")]  # unless somebody gives another map
    # Subset -> places of its scans or masks; None for all subsets.
    volumes: Places
    masks: Places = field(default_factory=dict)
    digits: Annotated[int, Field(ge=1, le=9)] = 1  # the least number of them in names
    # Name of a channel -> what stands for it in names of files; nothing where channels are the
    # fourth axis of one file. Empty or one: scans have one channel.
    channels: Channels = field(default_factory=dict)
    report_channel: Text = ""  # that the report shows; empty for the first
    # What tells a scan's subset where its place does not: its number, a column of the metadata, or
    # a JSON or YAML file of the archive that lists the ids of each.
    subset_numbers: Annotated[Subsets, Field(alias="subsets")] = field(default_factory=dict)
    subset_column: Text = ""
    subset_lists: Text = ""
    # In which every scan ought to have a mask. A set would look otherwise in each process, and so
    # would the checksum of what manifests were made from.
    subsets_with_masks: Annotated[tuple[Subset, ...], Field(alias="with_masks")] = ()
    # Section of ``dataset.json`` -> subset; empty where it does not tell subsets.
    dataset_json: Mapping[Text, Subset] = field(default_factory=dict)
    modality_numbers: Annotated[Modalities, Field(alias="modality")] = field(default_factory=dict)
    scanners: Mapping[Modality, tuple[Text, ...]] = field(default_factory=dict)
    # MR scanners that no labelled scan was made with.
    unlabelled_mr_scanners: Annotated[
        tuple[Text, ...], Field(alias="mr_scanners_without_masks")
    ] = ()
    official_counts: Mapping[Subset, Mapping[Modality, Count]] = field(default_factory=dict)
    metadata: MetadataFile | None = None
    # Value in the archive's masks -> label; a value that is not listed stands for itself.
    label_values: LabelValues = field(default_factory=dict)
    # Of masks with a file for each label: which label a voxel of several gets. The later one of
    # the label map, the earlier one, or the later one of these names.
    precedence: Literal["later", "earlier"] | tuple[Text, ...] = "later"
    # The labels that denoising may change.
    denoised: Annotated[Literal["all", "none"] | tuple[Text, ...], Field(alias="denoise")] = "all"
    # Whether label 15 becomes 16 for female patients.
    splits_prostate_uterus: Annotated[bool, Field(alias="split_prostate_uterus")] = False
    # Which order of voxels is right where a mask's grid is its scan's turned over and the scan's
    # values do not tell: that in the file, or that which the mask's affine gives.
    mask_geometry: MaskGeometry = "world"
    published_zip: PublishedFile | None = None  # the download, where it is one zip file
    # Likewise, where it is a file a task.
    published_tasks: PublishedTasks | None = None
    unlabelled: Unlabelled = field(default_factory=Unlabelled)
    # What an export calls a scan: by the id of its sample, or as the archive does.
    case_names: Literal["sample_id", "id"] = "sample_id"
    # For nnU-Net; the next two are those of CT and of MR alone.
    nnunet_id: Annotated[int, Field(ge=1)] | None = None
    # Patterns of paths, with ``*``, of files that are no scans and nothing to be told of.
    other_files: tuple[Text, ...] = ()
    # For people and exports. Version 0.1.0 called it `reference`.
    url: Annotated[Text, Field(validation_alias=AliasChoices("url", "reference"))] = ""
    licence: Text = ""
    cite: Text = ""
    register_at: Text = ""  # where its publishers are asked for it
    content: Annotated[Mapping[str, object], Field(alias=WHOLE_FILE)] = field(
        default_factory=dict, repr=False
    )

    @cached_property
    def published(self) -> dict[str, PublishedFile]:
        """The files that are downloaded, by name."""
        files = [] if self.published_zip is None else [self.published_zip]
        if (tasks := self.published_tasks) is not None:
            for name, md5 in tasks.md5.items():
                where = f"{tasks.where.rstrip('/')}/{quote(name)}"
                files.append(PublishedFile(where, md5, name=name))
        return {file.name: file for file in files}

    @cached_property
    def access(self) -> str:
        """Where it is to be had, for people; empty where nobody says."""
        if self.published or not (self.register_at or self.url):
            return ", ".join(self.published)
        return f"after registration at {self.register_at}" if self.register_at else f"at {self.url}"

    @cached_property
    def open_questions(self) -> tuple[str, ...]:
        """Which of `FROM_ARCHIVE` the archive's ``dataset.json`` has to tell."""
        return tuple(key for key in FROM_ARCHIVE if self.content.get(key) == FROM_DATASET_JSON)

    @cached_property
    def mr_numbers(self) -> range:
        """Numbers from the first MR scan to the last."""
        numbers = self.modality_numbers["mri"]
        return range(min(each.start for each in numbers), max(each.stop for each in numbers))

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that its scans may have, "ct" first."""
        return tuple(m for m in MODALITIES if m in self.modality_numbers or self.scanners.get(m))

    @cached_property
    def subsets(self) -> tuple[str, ...]:
        """Subsets that its scans may be in, "train" first."""
        if self.subset_column or self.subset_lists:
            return SUBSETS
        found = {*self.volumes, *self.masks, *self.subset_numbers}
        return tuple(subset for subset in SUBSETS if subset in found)

    @cached_property
    def files(self) -> tuple[FileRule, ...]:
        """Its scans and masks."""
        channels = {s: n for n, each in enumerate(self.channels.values()) for s in each}
        names = self.label_map.names().items()
        labels = {name.replace(" ", "_"): label for label, name in names if label}
        of_kind: tuple[tuple[Kind, Places, dict[str, int]], ...] = (
            ("volume", self.volumes, channels),
            ("mask", self.masks, labels),
        )
        return tuple(
            _make_rule(kind, subset, place, spellings, prefix=self.prefix, digits=self.digits)
            for kind, places, spellings in of_kind
            for subset, each in places.items()
            for place in each
        )

    @cached_property
    def _by_precision(self) -> list[FileRule]:
        return sorted(self.files, key=lambda rule: -rule.n_literal)

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels; none where scans have but one."""
        return tuple(self.channels) if len(self.channels) > 1 else ()

    @cached_property
    def pictured_channel(self) -> int:
        """The channel that the report shows."""
        return tuple(self.channels).index(self.report_channel) if self.report_channel else 0

    @cached_property
    def has_channel_files(self) -> bool:
        """Whether each channel is a file; otherwise they are the fourth axis of one."""
        return any(self.channels.values())

    @cached_property
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
        places = reversed(list(enumerate(self.precedence)))  # the first of a name counts
        order = {label_key(name): place for place, name in places}
        names = {label: label_key(name) for label, name in self.label_map.names().items()}
        return tuple(sorted(labels, key=lambda label: order.get(names[label], -1)))

    def not_denoised(self, label_map: LabelMap) -> tuple[int, ...]:
        """Return the labels that denoising leaves as they are, by a map of labels."""
        if self.denoised == "all":
            return ()
        wanted = {label_key(name) for name in self.denoised} if self.denoised != "none" else set()
        names = label_map.names().items()
        return tuple(label for label, name in names if label and label_key(name) not in wanted)

    @cached_property
    def example(self) -> str:
        """What one of its scans is called, for messages."""
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
        return self.find_seqs([text])[0]

    def find_seqs(self, texts: Iterable[str]) -> list[str | None]:
        """Return the seq of each of such texts; None for others."""
        bare = [text.removeprefix(f"{self.prefix}_") for text in texts]
        if not self.has_numbers:
            return [text if re.fullmatch(_ID, text) else None for text in bare]
        found = [_NUMBER.fullmatch(text) for text in bare]
        return [None if match is None else number_seq(int(match[1])) for match in found]

    def scan_file(self, path: str) -> ScanFile | None:
        """Return what a file is by its name and folders; None for any other file."""
        # What is spelled out most tells most: a mask `{id}_seg` is no scan `{id}`.
        found = next((told for rule in self._by_precision if (told := rule.find(path))), None)
        if found is None or found.subset or not self.subset_numbers:
            return found
        subset = _find(found.seq, self.subset_numbers)
        return None if subset is None else found._replace(subset=subset)

    def seq_in(self, name: str) -> str | None:
        """Return the seq of the scan that a file name speaks of, wherever the file lies."""
        told = (rule.tell(rule.name.fullmatch(name)) for rule in self._by_precision)
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


def _find(seq: str, numbers: Mapping[_Key, tuple[range, ...]]) -> _Key | None:
    """Return whose numbers a scan's is among."""
    number = int(seq) if re.fullmatch(r"[0-9]{1,9}", seq) else None
    for key, ranges in numbers.items():
        if EVERY_NUMBER in ranges or any(number in each for each in ranges):
            return key
    return None
