"""What the manifests of ROOT_DIR were made from, so that nothing is rewritten without need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from amos_dask.root.layout import Layout
from amos_dask.root.staging import write_text


@dataclass(frozen=True, slots=True)
class TableCounts:
    """What the manifests of a ROOT_DIR hold."""

    n_files: int  # rows of the archive manifest
    n_samples: int  # and of the dataset manifest
    # Volume threshold in mm3, and the small regions below it before and after denoising.
    n_regions: tuple[tuple[float, int, int], ...]


@dataclass(frozen=True)
class TableState:
    """What is remembered of the manifests."""

    # ``tables``, ``statistics``, ``report`` -> checksum of everything that they depend on; empty
    # where they are to be made again.
    made_from: Mapping[str, str]
    tables: tuple[str, ...]  # paths relative to ROOT_DIR of the manifests, in order of writing
    others: tuple[str, ...]  # and of the files of issues
    counts: TableCounts
    # Checksums of the dataset's definition and the file of exclusions; empty where not remembered.
    definition: str = ""
    exclusions: str = ""

    def has_other_definition(self, layout: Layout) -> bool:
        """Return whether the definition is known to be another now."""
        return self.definition not in ("", _definition(layout))

    def has_other_exclusions(self, layout: Layout) -> bool:
        """Return whether the file of exclusions is known to be another now, or gone, or new."""
        return self.exclusions not in ("", _exclusions(layout))


_STATE = TypeAdapter(TableState)


def read_table_state(layout: Layout) -> TableState | None:
    """Return what is remembered; None where that is nothing, or cannot be understood."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads(layout.tables.read_bytes())
        if isinstance(content["tables"], dict):  # of version 0.1.0, which kept identities here
            if not isinstance(content["made_from"], dict):  # it had one checksum first
                content["made_from"] = {}
            content |= {name: tuple(content[name]) for name in ("tables", "others")}
        return _STATE.validate_python(content)
    return None


def read_earlier_identities(layout: Layout) -> dict[str, str]:
    """Return path -> identity of the files that version 0.1.0 remembers."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads(layout.tables.read_bytes())
        return dict(content["tables"] | content["others"])
    return {}


def write_table_state(
    layout: Layout,
    made_from: Mapping[str, str],
    tables: Iterable[Path],
    others: Iterable[Path],
    counts: TableCounts,
) -> None:
    """Remember what the manifests and other files were made from; see `TableState`."""
    state = TableState(
        made_from,
        tuple(layout.keys(tables)),
        tuple(layout.keys(others)),
        counts,
        _definition(layout),
        _exclusions(layout),
    )
    write_text(layout.tables, _STATE.dump_json(state).decode())


def _definition(layout: Layout) -> str:
    return hashlib.sha256(layout.dataset.to_yaml().encode()).hexdigest()


def _exclusions(layout: Layout) -> str:
    path = layout.denoise_exclude
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()
