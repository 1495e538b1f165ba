"""What the manifests of ROOT_DIR were made from, so that nothing is rewritten without need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amos_dask.root.layout import Layout
from amos_dask.root.staging import write_text


@dataclass(frozen=True, slots=True)
class TableCounts:
    """What the manifests of a ROOT_DIR hold.

    Parameters
    ----------
    n_files, n_samples : int
        Rows of the archive manifest and of the dataset manifest.
    n_regions : tuple of (float, int, int)
        Volume threshold in mm3, and the small regions below it before and after denoising.
    """

    n_files: int
    n_samples: int
    n_regions: tuple[tuple[float, int, int], ...]


@dataclass(frozen=True)
class TableState:
    """What is remembered of the manifests.

    Parameters
    ----------
    made_from : mapping of str to str
        ``tables``, ``statistics``, ``report`` -> checksum of everything that they depend on; empty
        where they are to be made again.
    tables, others : tuple of str
        Paths relative to ROOT_DIR of the manifests, in the order of writing, and of the files of
        issues.
    counts : TableCounts
        What they hold.
    definition, exclusions : str
        Checksums of the dataset's definition, and of the file of exclusions; empty where they are
        not remembered.
    """

    made_from: Mapping[str, str]
    tables: tuple[str, ...]
    others: tuple[str, ...]
    counts: TableCounts
    definition: str = ""
    exclusions: str = ""

    def has_other_definition(self, layout: Layout) -> bool:
        """Return whether the definition is known to be another now."""
        return self.definition not in ("", _definition(layout))

    def has_other_exclusions(self, layout: Layout) -> bool:
        """Return whether the file of exclusions is known to be another now, or gone, or new."""
        return self.exclusions not in ("", _exclusions(layout))


def read_table_state(layout: Layout) -> TableState | None:
    """Return what is remembered; None where that is nothing, or cannot be understood."""
    try:
        content = json.loads(layout.tables.read_text(encoding="utf-8"))
        counts = content["counts"]
        regions = tuple((float(at), int(n), int(m)) for at, n, m in counts["n_regions"])
        return TableState(
            _texts(content["made_from"]),
            tuple(map(str, content["tables"])),  # version 0.1.0 kept identities here as well
            tuple(map(str, content["others"])),
            TableCounts(int(counts["n_files"]), int(counts["n_samples"]), regions),
            str(content.get("definition", "")),
            str(content.get("exclusions", "")),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def read_earlier_identities(layout: Layout) -> dict[str, str]:
    """Return path -> identity of the files that version 0.1.0 remembers."""
    try:
        content = json.loads(layout.tables.read_text(encoding="utf-8"))
        return _texts(content["tables"]) | _texts(content["others"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def write_table_state(
    layout: Layout,
    made_from: Mapping[str, str],
    tables: Iterable[Path],
    others: Iterable[Path],
    counts: TableCounts,
) -> None:
    """Remember what the manifests and other files were made from; see `TableState`."""
    content = {
        "made_from": dict(made_from),
        "tables": [layout.key(path) for path in tables],
        "others": [layout.key(path) for path in others],
        "counts": asdict(counts),
        "definition": _definition(layout),
        "exclusions": _exclusions(layout),
    }
    write_text(layout.tables, json.dumps(content, ensure_ascii=False))


def _texts(content: Any) -> dict[str, str]:
    """Return a mapping of texts; nothing for what is none, as version 0.1.0 has it in places."""
    found = content.items() if isinstance(content, dict) else ()
    return {str(name): str(value) for name, value in found}


def _definition(layout: Layout) -> str:
    return hashlib.sha256(layout.dataset.to_yaml().encode()).hexdigest()


def _exclusions(layout: Layout) -> str:
    path = layout.denoise_exclude
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()
