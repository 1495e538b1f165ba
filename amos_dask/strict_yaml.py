"""YAML as people write it by hand, read strictly: text stays text, nothing twice, no aliases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

_LARGEST_FILE = 1 << 20


class _StrictLoader(yaml.BaseLoader):
    """Makes mappings, lists and text only: YAML's own numbers would read ``010`` as 8."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node, which is no alias."""
        if self.check_event(yaml.AliasEvent):  # they make small files huge
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping, of which no key occurs twice."""
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            ((key, _),) = Counter(key.value for key, _ in node.value).most_common(1)
            raise yaml.YAMLError(f"key {key} occurs twice")
        return mapping


class _PlainDumper(yaml.SafeDumper):
    """Writes what the strict reader reads: no text needs quotes for looking like a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (as PyYAML declares it)


def parse_yaml(text: str) -> object:
    """Return the content of a YAML, or JSON, text: mappings, lists and text only.

    Raises `ValueError` when it is none.
    """
    try:
        return _StrictLoader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def read_yaml(path: Path, what: str, refusal: type[Exception]) -> object:
    """Return the content of a YAML file of at most 1 MiB: mappings, lists and text only.

    Parameters
    ----------
    path, what
        The file, and what it ought to be, for the message.
    refusal : type of exception
        Is raised when it cannot be read; the message is a sentence that names the file.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise ValueError("larger than 1 MiB")
        return parse_yaml(text)
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise refusal(f"{path}: not a readable {what} ({reason}).") from error


def dump_yaml(content: object) -> str:
    """Return the text of mappings, lists and text, for `read_yaml`."""
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)
