"""What the manifests of ROOT_DIR were made from, so that nothing is rewritten without need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from amos_dask.root.identity import AlteredFile, find_altered, identity
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
    made_from : str
        Checksum of everything that they depend on.
    tables, others : mapping of str to str
        Path relative to ROOT_DIR -> identity of the manifests, in the order of writing, and of the
        files of issues.
    counts : TableCounts
        What they hold.
    definition, exclusions : str
        Checksums of the dataset's definition, and of the file of exclusions; empty where they are
        not remembered.
    """

    made_from: str
    tables: Mapping[str, str]
    others: Mapping[str, str]
    counts: TableCounts
    definition: str = ""
    exclusions: str = ""

    def is_current(self, layout: Layout, made_from: str) -> bool:
        """Return whether the files are as they were written, from the same."""
        is_same = (self.made_from, self.definition) == (made_from, _definition(layout))
        return is_same and not self.altered_files(layout)

    def has_other_definition(self, layout: Layout) -> bool:
        """Return whether the definition is known to be another now."""
        return self.definition not in ("", _definition(layout))

    def has_other_exclusions(self, layout: Layout) -> bool:
        """Return whether the file of exclusions is known to be another now, or gone, or new."""
        return self.exclusions not in ("", _exclusions(layout))

    def altered_files(self, layout: Layout) -> list[AlteredFile]:
        """Return the files that are missing or not as they were written."""
        return find_altered(layout.root, {**self.tables, **self.others})


def read_table_state(layout: Layout) -> TableState | None:
    """Return what is remembered; None where that is nothing, or cannot be understood."""
    try:
        content = json.loads(layout.tables.read_text(encoding="utf-8"))
        counts = content["counts"]
        regions = tuple((float(at), int(n), int(m)) for at, n, m in counts["n_regions"])
        return TableState(
            str(content["made_from"]),
            {str(path): str(known) for path, known in content["tables"].items()},
            {str(path): str(known) for path, known in content["others"].items()},
            TableCounts(int(counts["n_files"]), int(counts["n_samples"]), regions),
            str(content.get("definition", "")),
            str(content.get("exclusions", "")),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def write_table_state(
    layout: Layout,
    made_from: str,
    tables: Iterable[Path],
    others: Iterable[Path],
    counts: TableCounts,
) -> None:
    """Remember what the manifests and other files at the given paths were made from.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    made_from : str
        Checksum of everything that they depend on; empty where they are to be made again.
    tables, others : iterable of Path
        The manifests, in the order of writing, and the files of issues.
    counts : TableCounts
        What the manifests hold.
    """
    found = _identities(layout, tables), _identities(layout, others)
    choices = _definition(layout), _exclusions(layout)
    _write(layout, TableState(made_from, *found, counts, *choices))


@contextmanager
def adding_to_table(layout: Layout, path: Path) -> Iterator[None]:
    """Remember the manifest at a path as it is after the ``with`` block.

    For what adds worksheets of its own and leaves the others: a manifest that was as it was
    remembered is so afterwards; one that somebody altered before is still altered.
    """
    state = read_table_state(layout)
    known = {} if state is None else _remembered(layout, state, path)
    was_as_written = not find_altered(layout.root, known)
    yield
    if state is not None and known and was_as_written:
        _write(layout, replace(state, tables={**state.tables, **_identities(layout, [path])}))


def _remembered(layout: Layout, state: TableState, path: Path) -> dict[str, str]:
    """Return the name of a manifest and what is remembered of it, if anything is."""
    return {name: known for name, known in state.tables.items() if layout.root / name == path}


def _write(layout: Layout, state: TableState) -> None:
    content = {
        "made_from": state.made_from,
        "tables": dict(state.tables),
        "others": dict(state.others),
        "counts": asdict(state.counts),
        "definition": state.definition,
        "exclusions": state.exclusions,
    }
    write_text(layout.tables, json.dumps(content, ensure_ascii=False))


def _definition(layout: Layout) -> str:
    return hashlib.sha256(layout.dataset.to_yaml().encode()).hexdigest()


def _exclusions(layout: Layout) -> str:
    path = layout.denoise_exclude
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def _identities(layout: Layout, paths: Iterable[Path]) -> dict[str, str]:
    return {path.relative_to(layout.root).as_posix(): identity(path) for path in paths}
