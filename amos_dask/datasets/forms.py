"""What a value in a definition may be: types that pydantic makes of text, and their words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from amos_dask.labels import LabelMap, make_label_map

Subset = Literal["train", "val", "test"]
Modality = Literal["ct", "mri", "und"]
# Whether a mask whose grid is its scan's turned over is right as stored, or where its affine is.
MaskGeometry = Literal["stored", "world"]
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
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_EVERY_NUMBER = "0-999999999"
_WILDCARDS = {"*": ".*", "{modality}": "(ct|mri)", "{numbers}": "[0-9_]+"}
_Key = TypeVar("_Key")


def _made_of_text(make: Callable[[str], object]) -> BeforeValidator:
    """Return what makes something of a text; anything else is left as it is."""
    return BeforeValidator(lambda found: make(found) if isinstance(found, str) else found)


def _of_form(pattern: str, words: str) -> AfterValidator:
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


def _require_id(place: str) -> str:
    if ".." in place.split("/"):
        raise ValueError(f"{place!r} leads out of the archive")
    if ("{number}" in place) == ("{id}" in place):
        raise ValueError(f"{place!r} needs either {{number}} or {{id}}, which tells scans apart")
    return place


def _require_distinct(channels: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    spelled = [name for names in channels.values() for name in names]
    for names in (spelled, [name.replace(" ", "_").casefold() for name in channels]):
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} stands for two channels")
    return channels


def is_every(numbers: range) -> bool:
    """Return whether a range stands for every scan, whether or not its id is a number."""
    return numbers == _read_range(_EVERY_NUMBER)


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
    _of_form(
        r"\w[\w .+()-]{0,49}",
        "made of at most 50 letters, digits, spaces and . _ + - ( ), a letter or digit first",
    ),
]
Prefix = Annotated[
    str,
    _of_form(
        r"[A-Za-z][A-Za-z0-9-]{0,29}", "made of at most 30 letters, digits and -, a letter first"
    ),
]
ChannelName = Annotated[
    str,
    _of_form(
        r"(?a:[\w.+() -]{1,50})", "made of at most 50 letters, digits, spaces and . _ + - ( )"
    ),
]
Place = Annotated[
    str,
    _of_form(
        r"(?a:(?:(?:[\w.+() *-]|\{(?:prefix|number|id|channel|label)\})+/)*"
        r"(?:[\w.+() *-]|\{(?:prefix|number|id|channel|label)\})+)",
        "such as 'imagesTr/amos_{number}' or '{id}/{id}_seg': folders and a name, of letters, "
        "digits, . _ + - ( ) * and {prefix}, {number}, {id}, {channel}, {label}",
    ),
    AfterValidator(_require_id),
]
NamePattern = Annotated[re.Pattern[str], _made_of_text(name_pattern)]
Labels = Annotated[
    LabelMap, BeforeValidator(lambda it: it if isinstance(it, LabelMap) else make_label_map(it))
]

# Numbers of scans, such as ``1-500, 601``.
Numbers = Annotated[
    tuple[Annotated[range, PlainValidator(_read_range)], ...],
    _made_of_text(lambda ranges: ranges.split(",")),
]
NumbersBy = Annotated[Mapping[_Key, Numbers], AfterValidator(_require_apart)]
# A single subset or modality is that of all.
Subsets = Annotated[NumbersBy[Subset], _made_of_text(lambda subset: {subset: _EVERY_NUMBER})]
Modalities = Annotated[
    NumbersBy[Modality], _made_of_text(lambda modality: {modality: _EVERY_NUMBER})
]
# Subset -> places of its files. What is no mapping is for all: something else tells the subset.
Places = Annotated[
    Mapping[Subset | None, Annotated[tuple[Place, ...], _made_of_text(lambda place: (place,))]],
    BeforeValidator(lambda it: it if isinstance(it, Mapping) else {None: it}),
]
# Name of a channel -> what stands for it in names of files. A list are the fourth axis of a file.
Channels = Annotated[
    Mapping[ChannelName, Annotated[tuple[Text, ...], _made_of_text(lambda name: (name,))]],
    BeforeValidator(lambda it: dict.fromkeys(it, ()) if isinstance(it, list) else it),
    AfterValidator(_require_distinct),
]
# Value in a mask's file -> label.
LabelValues = Annotated[
    Mapping[Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)], Annotated[int, Field(ge=0, le=255)]],
    Field(),
]
