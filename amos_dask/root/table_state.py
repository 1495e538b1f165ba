"""What is remembered of our files but samples', and what the manifests were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from amos_dask.root.layout import Layout
from amos_dask.root.staging import write_text


@dataclass(frozen=True, slots=True)
class OwnSheet:
    """A worksheet that we wrote."""

    columns: tuple[str, ...]  # ours
    # Of their cells, whatever the order of the rows and the last digits of numbers, which other
    # programs do not save; then with all digits, empty where a program may have left some out.
    checksum: str
    exact: str = ""

    def is_like(self, other: OwnSheet) -> bool:
        """Return whether another one says the same, as far as programs save it."""
        return (self.columns, self.checksum) == (other.columns, other.checksum)


@dataclass(frozen=True, slots=True)
class IndexOf:
    """What an index workbook is of."""

    manifest: str  # the workbook, as files are listed
    split: str  # its worksheet
    subsets: tuple[str, ...]  # whose rows the index workbook has


@dataclass(frozen=True, slots=True)
class OwnFile:
    """What is known of a file that we wrote."""

    identity: str = ""  # when we wrote it, or last found that others changed nothing of ours
    is_of_run: bool = False  # `run` wrote it, not a single command
    sheets: Mapping[str, OwnSheet] = field(default_factory=dict)  # ours, by title; if known
    is_shared: bool = False  # a workbook that may hold what others put there
    index_of: IndexOf | None = None
    twin_of: str = ""  # the workbook, as files are listed, that it is a csv or Parquet file of


_FILES = TypeAdapter(dict[str, OwnFile])


def read_own_files(layout: Layout) -> dict[str, OwnFile]:
    """Return what is listed as ours, by path; nothing where that cannot be understood."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return _FILES.validate_json(layout.own_files.read_bytes())
    return {}


def write_own_files(layout: Layout, files: Mapping[str, OwnFile]) -> None:
    """List what is ours."""
    write_text(layout.own_files, _FILES.dump_json(dict(files), exclude_defaults=True).decode())


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
