"""YAML as people write it by hand, read strictly: text stays text, nothing twice, no aliases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

_LARGEST_FILE = 1 << 20


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


class _PlainDumper(yaml.SafeDumper):
    """Writes what the strict reader reads: no text needs quotes for looking like a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


def read_yaml(path: Path, what: str) -> object:
    """Return the content of a YAML file: mappings, lists and text only.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it ought to be, for the message.

    Raises
    ------
    ValueError
        When it cannot be read; the message is a sentence that names the file.
    """
    try:
        is_small = path.stat().st_size <= _LARGEST_FILE
        content = parse_yaml(path.read_text(encoding="utf-8-sig")) if is_small else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable {what} ({reason}).") from error
    if not is_small:
        raise ValueError(f"{path}: larger than 1 MiB, so not a {what}.")
    return content


def parse_yaml(text: str) -> object:
    """Return the content of a text; raises what PyYAML raises."""
    return _StrictLoader(text).get_single_data()


def dump_yaml(content: object) -> str:
    """Return the text of mappings, lists and text, for `read_yaml`."""
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100)
