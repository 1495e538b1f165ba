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
EVERY_NUMBER = range(10**9)  # stands for every scan, whether or not its id is a number
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_WILDCARDS = {"*": ".*", "{modality}": "(ct|mri)", "{numbers}": "[0-9_]+"}
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
