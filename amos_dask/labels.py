"""The label map (class index -> name), the labels of prostate and uterus, colours of labels."""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from amos_dask.errors import LabelMapError
from amos_dask.handwritten import read_yaml

BACKGROUND = 0
PROSTATE = 15
UTERUS = 16

_INDEX = re.compile(r"0|[1-9][0-9]{0,2}")
_NAME = re.compile(r"[\w .+()-]{1,50}")

Colour = tuple[int, int, int]

# ITK-SNAP's colours of labels 1 to 16, which the field's figures of AMOS use.
_COLOURS: tuple[Colour, ...] = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (0, 255, 255),
    (255, 0, 255),
    (255, 239, 213),
    (0, 0, 205),
    (205, 133, 63),
    (210, 180, 140),
    (102, 205, 170),
    (0, 0, 128),
    (0, 139, 139),
    (46, 139, 87),
    (255, 228, 225),
    (106, 90, 205),
)
_GOLDEN_ANGLE = 0.381966  # of a turn: the hues of neighbours lie far apart


def label_key(name: str) -> str:
    """Return what two spellings of a label's name have in common, as in names of files."""
    return name.replace(" ", "_").casefold()


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Names of the labels a mask may hold, in ascending order of index.

    Indexes are 0..255; 0, the background, is always there.
    """

    entries: tuple[tuple[int, str], ...]

    def __iter__(self) -> Iterator[int]:
        return (index for index, _ in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def unknown(self, labels: Iterable[int]) -> tuple[int, ...]:
        """Return the given labels that the map lacks, ascending."""
        return tuple(sorted(set(labels) - set(self)))

    def columns(self) -> dict[int, str]:
        """Return label index -> column and file stem, such as ``mask_02_right_kidney``."""
        return {i: f"mask_{i:02d}_{name.replace(' ', '_')}" for i, name in self.entries}

    def names(self) -> dict[int, str]:
        """Return label index -> name as a dictionary."""
        return dict(self.entries)

    def to_yaml(self) -> str:
        """Return the text of a label map file, a line ``index: name`` for each label."""
        return yaml.safe_dump(self.names(), sort_keys=True, allow_unicode=True)


def read_label_map(path: Path) -> LabelMap:
    """Read a label map from a YAML file.

    Parameters
    ----------
    path : Path
        Lines ``index: name``, or the same mapping under the single key ``full_form_index_map``.

    Raises
    ------
    LabelMapError
        When the file cannot be read or does not hold whole indexes 0..255 with distinct names.
    """
    content = read_yaml(path, "label map", LabelMapError)
    if isinstance(content, dict) and list(content) == ["full_form_index_map"]:
        content = content["full_form_index_map"]
    try:
        return make_label_map(content)
    except ValueError as error:
        raise LabelMapError(f"{path}: {error}.") from error


def make_label_map(content: object) -> LabelMap:
    """Return the label map that a mapping of index to name, both text, stands for.

    Raises `ValueError` when it is not a mapping of whole indexes 0..255 to distinct names; the
    message says what is wrong, without a full stop.
    """
    if not isinstance(content, dict) or not content:
        raise ValueError("expected lines such as '1: spleen'")
    entries = []
    for index, name in content.items():
        if not isinstance(index, str) or not _INDEX.fullmatch(index) or int(index) > 255:
            raise ValueError(f"label index {index!r} is not a whole number in 0..255")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.strip(" ."):
            raise ValueError(
                f"the name {name!r} of label {index} must be made of at most 50 letters, digits, "
                "spaces and . _ + - ( )"
            )
        entries.append((int(index), name))
    if BACKGROUND not in dict(entries):
        raise ValueError("label 0 (background) is missing")
    stems = Counter(label_key(name) for _, name in entries)
    ((stem, times),) = stems.most_common(1)
    if times > 1:
        raise ValueError(f"the name {stem!r} is used for two labels")
    return LabelMap(tuple(sorted(entries)))


def label_colour(label: int) -> Colour:
    """Return the red, green and blue of a label, each 0..255; black for the background."""
    if label == 0:
        return (0, 0, 0)
    if label <= len(_COLOURS):
        return _COLOURS[label - 1]
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN_ANGLE % 1.0, 0.7, 0.9)
    return (round(red * 255), round(green * 255), round(blue * 255))
