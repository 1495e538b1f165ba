"""What a value in a definition may be: types that pydantic makes of text, and their words."""

from __future__ import annotations

import re
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
Place = Annotated[
    str,
    _of_form(
        r"(?a:(?:(?:[\w.+()-]|\{prefix\})+/)?(?:[\w.+()-]|\{prefix\})*\{number\})",
        "such as 'imagesTr/amos_{number}': a folder or none, a name, and the number at its end",
    ),
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
# Subset -> place of its files. A single place is for all: then the numbers tell the subset.
Places = Annotated[Mapping[Subset | None, Place], _made_of_text(lambda place: {None: place})]
# Modality -> its numbers. A single modality is that of all.
Modalities = Annotated[
    NumbersBy[Modality], _made_of_text(lambda modality: {modality: _EVERY_NUMBER})
]
