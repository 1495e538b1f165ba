"""The label map (class index -> name), and the rule that splits prostate from uterus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from amos_dask.errors import LabelMapError

BACKGROUND = 0
PROSTATE = 15
UTERUS = 16

AMOS22_LABELS: Mapping[int, str] = {
    0: "background",
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gall bladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "postcava",
    10: "pancreas",
    11: "right adrenal gland",
    12: "left adrenal gland",
    13: "duodenum",
    14: "bladder",
    15: "prostate",
    16: "uterus",
}

_INDEX = re.compile(r"0|[1-9][0-9]{0,2}")
_NAME = re.compile(r"[\w .+()-]{1,50}")
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Names of the labels a mask may hold, in ascending order of index.

    Parameters
    ----------
    entries : tuple of (int, str)
        Pairs of label index (0..255) and name. Index 0, the background, is always there.
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


DEFAULT_LABEL_MAP = LabelMap(tuple(sorted(AMOS22_LABELS.items())))


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
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise LabelMapError(f"{path}: larger than 1 MiB, so not a label map.")
        content = _StrictLoader(path.read_text(encoding="utf-8-sig")).get_single_data()
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise LabelMapError(f"{path}: not a readable label map ({reason}).") from error
    if isinstance(content, dict) and list(content) == ["full_form_index_map"]:
        content = content["full_form_index_map"]
    return _parse(content, path)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML where plain text stays text, without aliases and without duplicate keys.

    Aliases make small files huge; YAML's own numbers would read ``010`` as 8.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (as PyYAML declares it)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = [key for key, times in keys.items() if times > 1]
        if repeated:
            raise yaml.YAMLError(f"key {repeated[0]} occurs twice")
        return super().construct_mapping(node, deep)


def _parse(content: object, path: Path) -> LabelMap:
    if not isinstance(content, dict) or not content:
        raise LabelMapError(f"{path}: expected lines such as '1: spleen'.")
    entries = []
    for index, name in content.items():
        if not isinstance(index, str) or not _INDEX.fullmatch(index) or int(index) > 255:
            raise LabelMapError(f"{path}: label index {index!r} is not a whole number in 0..255.")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.strip(" ."):
            raise LabelMapError(
                f"{path}: the name {name!r} of label {index} must be made of at most 50 letters, "
                "digits, spaces and . _ + - ( )."
            )
        entries.append((int(index), name))
    if BACKGROUND not in dict(entries):
        raise LabelMapError(f"{path}: label 0 (background) is missing.")
    stems = Counter(name.replace(" ", "_").casefold() for _, name in entries)
    repeated = [stem for stem, times in stems.items() if times > 1]
    if repeated:
        raise LabelMapError(f"{path}: the name {repeated[0]!r} is used for two labels.")
    return LabelMap(tuple(sorted(entries)))
