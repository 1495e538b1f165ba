"""What a value in a definition may be: types that pydantic makes of text, and small records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, with_config

from amos_dask.labels import LabelMap, make_label_map

Subset = Literal["train", "val", "test"]
Modality = Literal["ct", "mri", "und"]
# Whether a mask whose grid is its scan's turned over is right as stored, or where its affine is.
MaskGeometry = Literal["stored", "world"]
Kind = Literal["volume", "mask"]
# Fields of a metadata row, in the csv's order.
MetadataField = Literal[
    "birth_date",
    "sex",
    "age",
    "manufacturer_model_name",
    "manufacturer",
    "acquisition_date",
    "site",
]
SUBSETS: tuple[Subset, ...] = get_args(Subset)
# What people call them.
SUBSETS_AS_WRITTEN: Mapping[str, Subset] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "va"), "val"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
MODALITIES: tuple[Modality, ...] = get_args(Modality)
METADATA_FIELDS: tuple[MetadataField, ...] = get_args(MetadataField)

NEVER = re.compile(r"(?!)")
EVERY_NUMBER = range(10**9)  # stands for every scan, whether or not its id is a number
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_WILDCARDS = {"*": ".*", "{modality}": "(ct|mri)", "{numbers}": "[0-9_]+"}
# {number} and the like, in places of files.
PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PIECE = r"(?:[\w.+() *-]|\{(?:prefix|number|id|channel|label)\})+"
_Key = TypeVar("_Key")


def made_of_text(make: Callable[[str], object]) -> BeforeValidator:
    """Return what makes something of a text; anything else is left as it is."""
    return BeforeValidator(lambda found: make(found) if isinstance(found, str) else found)


def of_form(pattern: str, words: str) -> AfterValidator:
    """Return what requires a text to match; the words say what it may be."""

    def require(text: str) -> str:
        """Return the text, if it matches."""
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {words}")
        return text

    return AfterValidator(require)


def _read_range(found: object) -> range:
    text = str(found).strip()
    match = _RANGE.fullmatch(text)
    numbers = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    if not numbers:
        raise ValueError(f"{text!r} is not a range such as 1-500")
    return numbers


def _require_apart(numbers: Mapping[_Key, tuple[range, ...]]) -> Mapping[_Key, tuple[range, ...]]:
    found = sorted((one.start, one.stop, str(key)) for key, each in numbers.items() for one in each)
    for (_, stop, _), (start, _, key) in pairwise(found):
        if start < stop:
            raise ValueError(f"number {start} of {key} is in two ranges")
    return numbers


def _require_distinct(channels: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    spelled = [name for names in channels.values() for name in names]
    for names in (spelled, [name.replace(" ", "_").casefold() for name in channels]):
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands for two channels")
    return channels


def name_pattern(text: str) -> re.Pattern[str]:
    """Return what matches a file name with ``*``, ``{modality}`` (a group) and ``{numbers}``.

    Upper and lower case are the same.
    """
    pieces = re.split(r"(\*|\{modality\}|\{numbers\})", text)
    pattern = "".join(_WILDCARDS.get(piece) or re.escape(piece) for piece in pieces)
    return re.compile(pattern, re.IGNORECASE)


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
DatasetName = Annotated[
    str,
    of_form(
        r"\w[\w .+()-]{0,49}",
        "made of at most 50 letters, digits, spaces and . _ + - ( ), a letter or digit first",
    ),
]
Prefix = Annotated[
    str,
    of_form(
        r"[A-Za-z][A-Za-z0-9-]{0,29}", "made of at most 30 letters, digits and -, a letter first"
    ),
]
_ChannelName = Annotated[
    str,
    of_form(r"(?a:[\w.+() -]{1,50})", "made of at most 50 letters, digits, spaces and . _ + - ( )"),
]
# Never a path.
FileName = Annotated[str, of_form(r"(?a:\w[\w.+() -]{0,99})", "the plain name of a file")]
Md5 = Annotated[str, of_form(r"[0-9a-f]{32}", "an MD5, 32 of 0-9 and a-f")]
NamePattern = Annotated[re.Pattern[str], made_of_text(name_pattern)]
Labels = Annotated[
    LabelMap, BeforeValidator(lambda it: it if isinstance(it, LabelMap) else make_label_map(it))
]
# Numbers of scans, such as ``1-500, 601``.
_Numbers = Annotated[
    tuple[Annotated[range, PlainValidator(_read_range)], ...],
    made_of_text(lambda ranges: ranges.split(",")),
]
_NumbersBy = Annotated[Mapping[_Key, _Numbers], AfterValidator(_require_apart)]
# A single subset or modality is that of all.
_of_every = made_of_text(lambda key: {key: f"0-{EVERY_NUMBER[-1]}"})
Subsets = Annotated[_NumbersBy[Subset], _of_every]
Modalities = Annotated[_NumbersBy[Modality], _of_every]
# Name of a channel -> what stands for it in names of files. A list are the fourth axis of a file.
Channels = Annotated[
    Mapping[_ChannelName, Annotated[tuple[Text, ...], made_of_text(lambda name: (name,))]],
    BeforeValidator(lambda it: dict.fromkeys(it, ()) if isinstance(it, list) else it),
    AfterValidator(_require_distinct),
]
# Value in a mask's file -> label.
LabelValues = Mapping[
    Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)], Annotated[int, Field(ge=0, le=255)]
]


def _require_id(place: str) -> str:
    if ".." in place.split("/"):
        raise ValueError(f"{place!r} leads out of the archive")
    if ("{number}" in place) == ("{id}" in place):
        raise ValueError(f"{place!r} needs either {{number}} or {{id}}, which tells scans apart")
    return place


_Place = Annotated[
    str,
    of_form(
        rf"(?a:(?:{_PIECE}/)*{_PIECE})",
        "such as 'imagesTr/amos_{number}' or '{id}/{id}_seg': folders and a name, of letters, "
        "digits, . _ + - ( ) * and {prefix}, {number}, {id}, {channel}, {label}",
    ),
    AfterValidator(_require_id),
]
# Subset -> places of its files. What is no mapping is for all: something else tells the subset.
Places = Annotated[
    Mapping[Subset | None, Annotated[tuple[_Place, ...], made_of_text(lambda place: (place,))]],
    BeforeValidator(lambda it: it if isinstance(it, Mapping) else {None: it}),
]


@with_config(extra="forbid")
@dataclass(frozen=True)
class PublishedFile:
    """A file, such as the dataset's zip, as its publishers describe it."""

    where: Text  # the page it is downloaded from, or its own URL
    md5: Md5 | None  # None when nobody tells
    # Its size, 0 when nobody tells, and by how much that may be off: the page shows three digits.
    n_bytes: Count = 0
    n_bytes_uncertain: Count = 0
    name: FileName = field(kw_only=True)

    def fits(self, n_bytes: int) -> bool:
        """Return whether a file of this size can be the published one."""
        return not self.n_bytes or abs(n_bytes - self.n_bytes) <= self.n_bytes_uncertain


@with_config(extra="forbid")
@dataclass(frozen=True)
class PublishedTasks:
    """Files of which each is a dataset by itself, such as the tars of the Decathlon's tasks."""

    where: Text  # the URL below which they lie
    md5: Mapping[FileName, Md5]

    def choose(self, task: str) -> str | None:
        """Return the file that is meant by such as ``liver``, ``3`` or ``Task03_Liver``."""
        wanted = re.sub("^0+(?=.)", "", task.casefold())
        for name in self.md5:
            stem = name.casefold().rpartition(".")[0]
            numbers = (found.lstrip("0") for found in re.findall(r"\d+", stem))
            if wanted in (name.casefold(), stem, *stem.split("_"), *numbers):
                return name
        return None


@with_config(extra="forbid")
@dataclass(frozen=True)
class Unlabelled:
    """Files of scans without labels, which lie beside the archive."""

    published: tuple[Text, ...] = ()  # their names, as they are published
    # Match the name of such a zip, whose first group is the modality, and of its metadata.
    zips: NamePattern = NEVER
    csvs: NamePattern = NEVER
    damaged: frozenset[Count] = frozenset()  # scans whose published file is damaged


@with_config(extra="forbid")
@dataclass(frozen=True)
class MetadataFile:
    """The table that tells of the scans: a csv, tsv or xlsx file."""

    files: Text  # pattern of its name, with ``*``
    id_column: Annotated[Text, Field(alias="id")]  # of the scans' numbers or ids
    official_file: str = ""  # the name that is preferred where several files fit
    columns: Mapping[MetadataField, Text] = field(default_factory=dict)  # field -> column
    # Whether MR scan N may stand in row N - 1, as in AMOS22.
    mr_rows_may_be_shifted: bool = False

    def is_name_of(self, name: str) -> bool:
        """Return whether a file name fits, in upper or lower case."""
        return name_pattern(self.files).fullmatch(name) is not None
