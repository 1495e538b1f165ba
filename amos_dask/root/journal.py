"""The journal: what is being written, so that after a kill it is still known to be ours."""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from amos_dask.root.identity import identity
from amos_dask.root.layout import Layout
from amos_dask.root.staging import flush_to_disk, is_leftover, remove_if_empty

# Names of what is kept between runs end so; temporary files of it are in no journal.
_OF_STATE = (".json", ".jsonl", ".npz", ".log", ".run")
Identities = Mapping[str, frozenset[str]]


class Journal:
    """Lists files before they appear: temporary names, then final names and identities.

    It is removed once what it lists is told elsewhere: in a sample's receipt, or among the files
    of ROOT_DIR. Lines of several killed runs add up.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    name : str
        A sample's id, or what else writes.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self.path = layout.journals / f"{name}.jsonl"

    def add_temporaries(self, paths: Iterable[Path]) -> None:
        """List temporary files, before they are made."""
        self._append({"temporary": key} for key in self._layout.keys(paths))

    def add_published(self, staged: Mapping[Path, Path]) -> None:
        """List the files that are about to get their final names: final -> temporary path."""
        if not staged:
            return
        identities = [identity(temporary, final.name) for final, temporary in staged.items()]
        keys = self._layout.keys(staged)
        self._append({"file": k, "identity": i} for k, i in zip(keys, identities, strict=True))
        flush_to_disk(self.path)

    def files(self) -> Identities:
        """Return path relative to ROOT_DIR -> identities of what was to appear there."""
        found = defaultdict(set)
        for entry in self._read():
            if "file" in entry:
                found[entry["file"]].add(entry["identity"])
        return {path: frozenset(known) for path, known in found.items()}

    def temporaries(self) -> Iterator[Path]:
        """Yield the temporary files that were to be made."""
        paths = (self._layout.root / entry.get("temporary", "") for entry in self._read())
        return (path for path in paths if is_leftover(path.name))

    def remove_temporaries(self, *, forget: bool = True) -> None:
        """Remove the temporary files that a killed run has left; forget those that are gone."""
        for path in self.temporaries():
            path.unlink(missing_ok=True)
            remove_if_empty(path.parent)
        if forget and not self.files():
            self.remove()

    def add_files(self, files: Identities) -> None:
        """List files that are in place."""
        known = self.files()
        self._append(
            {"file": path, "identity": one}
            for path, identities in files.items()
            for one in sorted(identities - known.get(path, frozenset()))
        )

    def remove(self) -> None:
        """Remove the journal: what it lists is told elsewhere.

        Its folder stays until the work ends: others may be about to write there.
        """
        self.path.unlink(missing_ok=True)

    def _append(self, entries: Any) -> None:
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _read(self) -> Iterator[dict[str, str]]:
        """Yield what the lines say; one that a kill has cut off says nothing."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def journal_of(layout: Layout, sample_id: str, folder: Path | None) -> Journal:
    """Return the journal of a sample; several folders of one sample have one each.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    sample_id : str
        The sample.
    folder : Path or None
        The sample's folder, where a step works on just that one.
    """
    if folder is None:
        return Journal(layout, sample_id)
    return Journal(layout, f"{sample_id}-{zlib.crc32(layout.key(folder).encode()):08x}")


def find_journals_of(layout: Layout, sample_id: str) -> list[Journal]:
    """Return the journals of a sample that killed runs have left."""
    names = (f"{sample_id}.jsonl", f"{sample_id}-*.jsonl")
    paths = (path for name in names for path in layout.journals.glob(name))
    return [Journal(layout, path.stem) for path in paths]


def find_journals(layout: Layout) -> list[Journal]:
    """Return the journals that killed runs have left."""
    return [Journal(layout, path.stem) for path in sorted(layout.journals.glob("*.jsonl"))]


def remove_temporaries(layout: Layout, *, forget: bool = True) -> None:
    """Remove the temporary files that killed runs have left under ROOT_DIR.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    forget : bool
        Forget those that are gone; not after a failure, as they may only be out of reach.
    """
    for journal in find_journals(layout):
        journal.remove_temporaries(forget=forget)
    for folder, _, names in os.walk(layout.state):
        for path in (Path(folder, name) for name in filter(is_leftover, names)):
            if Path(path.stem).stem.endswith(_OF_STATE):
                path.unlink(missing_ok=True)
