"""The mark of an export: what it was made from, and its own files; which exports ROOT_DIR has."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from amos_dask.archive.recognise import EXPORT_MARK
from amos_dask.params import ArraySettings
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.own_files import is_link_identity, look_at
from amos_dask.root.staging import Journal, Staging


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file that an export wrote."""

    identity: str  # as `identity_of` tells it
    # The file of ROOT_DIR that it was made from, POSIX and relative to the mark's folder, and its
    # identity then; empty for lists of samples.
    source: str = ""
    source_identity: str = ""

    @property
    def is_link(self) -> bool:
        """Whether it is a link to its source."""
        return is_link_identity(self.identity)

    def is_outdated_by(self, other: ExportedFile) -> bool:
        """Return whether its content is of another source, or state of it, than another file's."""
        return not self.is_link and self.source_identity != other.source_identity


@dataclass(frozen=True)
class ExportMark:
    """What an export was asked to be, and its files. Of version 0.1.0 it tells the labels only."""

    made_by: str = "amos-dask export"
    merge_prostate_uterus: bool = False  # this and the next: how labels were changed
    mr_without_14_16: bool = False
    label_values: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # by modality
    label_names: tuple[str, ...] = ()  # of each value; ``background`` comes first
    form: str = ""  # ``nnunet``, ``monai`` or ``arrays``
    arrays: ArraySettings | None = None  # of the last of them
    result_version: int = 0  # of how files are made from those of ROOT_DIR
    # What was given, absolute, on disk relative to the mark's folder; empty for no label map.
    root_dir: str = ""
    label_explanation: str = ""
    # Which samples were chosen; None for all.
    ids: tuple[str, ...] | None = None
    subset: str | None = None
    modality: str | None = None
    split_name: str = ""  # worksheet of a split that folds are of; empty for the official one
    parts: Mapping[str, str] = field(default_factory=dict)  # sample -> its part of that split
    samples: tuple[str, ...] = ()  # these, by number
    left_out: tuple[str, ...] = ()  # those of them that could not be exported
    files: Mapping[str, ExportedFile] = field(default_factory=dict)  # by path from the mark

    @property
    def record(self) -> dict[str, Any]:
        """How the labels were made, for the JSON files of other programs."""
        names = ("made_by", "merge_prostate_uterus", "mr_without_14_16", "label_values")
        return {name: getattr(self, name) for name in names}

    @property
    def changes_labels(self) -> bool:
        """Whether a label may become another one."""
        values = (pair for of in self.label_values.values() for pair in of.items())
        return any(label != value for label, value in values)


_MARK = TypeAdapter(ExportMark)


def is_export(folder: Path) -> bool:
    """Return whether a folder carries an export's mark."""
    return (folder / EXPORT_MARK).is_file()


def read_mark(folder: Path) -> ExportMark:
    """Return what an export's mark tells; one that cannot be understood tells nothing."""
    try:
        mark = _MARK.validate_json((folder / EXPORT_MARK).read_bytes())
    except (OSError, ValueError):
        return ExportMark()
    return _with_paths(mark, lambda told: str(path_told(folder, told)))


def write_mark(folder: Path, mark: ExportMark) -> None:
    """Mark a folder as an export of ours."""
    told = _with_paths(mark, lambda path: path_from(folder, Path(path)))
    text = json.dumps(_MARK.dump_python(told, mode="json"), indent=1, ensure_ascii=False) + "\n"
    journal = Journal(Layout(folder), "mark")
    with Staging(journal) as staging:
        staging.write_text(folder / EXPORT_MARK, text)
        staging.publish()
    journal.remove()  # the mark's name tells whose it is


def _with_paths(mark: ExportMark, change: Callable[[str], str]) -> ExportMark:
    root, label_map = (path and change(path) for path in (mark.root_dir, mark.label_explanation))
    return replace(mark, root_dir=root, label_explanation=label_map)


def path_from(folder: Path, path: Path) -> str:
    """Return a path as a mark tells it: POSIX and relative to the mark's folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def path_told(folder: Path, told: str) -> Path:
    """Return the path that a mark tells, absolute."""
    return absolute(folder / told)


def identity_of(path: Path) -> str:
    """Return what identifies a file, or where a link leads; empty where it cannot be told."""
    with suppress(OSError):
        return look_at(path)
    return ""


def remember_export(layout: Layout, folder: Path) -> None:
    """Note in ROOT_DIR where an export is, if anything is kept and can be written there."""
    line = json.dumps(path_from(layout.root, folder)) + "\n"
    with suppress(OSError):
        if layout.state.is_dir() and folder not in find_exports(layout):
            with layout.exports.open("a", encoding="utf-8") as file:
                file.write(line)


def find_exports(layout: Layout) -> list[Path]:
    """Return the folders with the marks of ROOT_DIR's exports, as far as they are still there."""
    try:
        lines = layout.exports.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    folders = dict[Path, None]()
    for line in lines:
        with suppress(ValueError, TypeError):
            folders[path_told(layout.root, json.loads(line))] = None
    # Not the export of a ROOT_DIR of which this is a copy.
    return [
        folder
        for folder in folders
        if is_export(folder) and Path(read_mark(folder).root_dir).is_relative_to(layout.root)
    ]


def find_exports_of(layout: Layout, sample_ids: Collection[str]) -> dict[Path, list[str]]:
    """Return the exports that hold any of some samples -> which of them."""
    found = {}
    for folder in find_exports(layout):
        mark = read_mark(folder)
        if held := sorted(set(sample_ids) & set(mark.samples) - set(mark.left_out)):
            found[folder] = held
    return found
