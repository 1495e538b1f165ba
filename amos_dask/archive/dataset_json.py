"""``dataset.json``: the subsets of scans, and what a Decathlon task is."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from amos_dask.archive.sources import read_bytes
from amos_dask.datasets import DatasetDefinition, make_definition
from amos_dask.errors import (
    ArchiveError,
    DatasetError,
    InaccessibleFileError,
    UnreadableImageError,
)
from amos_dask.issues import Issue, make_issue
from amos_dask.records import FileRef

_LARGEST_JSON = 8 << 20
_UNUSABLE = (UnreadableImageError, InaccessibleFileError, ValueError, RecursionError)
# What the tasks of the Decathlon call the channels of MR scans.
_MR_CHANNELS = frozenset({"MRI", "MR", "FLAIR", "T1", "T1W", "T1GD", "T2", "T2W", "ADC"})


def complete_definition(
    definition: DatasetDefinition, found: Sequence[FileRef], shown_as: str
) -> DatasetDefinition:
    """Return a definition in which what ``dataset.json`` is to tell is said.

    Parameters
    ----------
    definition : DatasetDefinition
        With or without open questions.
    found : sequence of FileRef
        The outermost files of that name in the archive.
    shown_as : str
        The archive, for messages.

    Raises
    ------
    ArchiveError
        When there is no such file, or it does not tell.
    """
    if not definition.open_questions:
        return definition
    if len(found) != 1:
        which = " and ".join(ref.path for ref in found[:2]) or "no dataset.json"
        raise ArchiveError(
            f"{shown_as}: found {which} where one dataset.json was expected; name the folder of "
            "one task."
        )
    where = f"{shown_as}, {found[0].path}"
    try:
        told = _answers(_read(found[0]), definition)
        return make_definition({**definition.content, **told}, where)
    except DatasetError as error:
        raise ArchiveError(
            f"{error} Copy the dataset's definition, write it there, and name that with --dataset."
        ) from error
    except _UNUSABLE as error:
        raise ArchiveError(f"{where}: does not tell what the dataset is ({error}).") from error


def _answers(content: Mapping[str, Any], definition: DatasetDefinition) -> dict[str, object]:
    """Return what a definition leaves open, as its file would say it."""
    prefix = _prefix([name for _, name in _entries(content, definition.dataset_json)])
    answers = {
        "name": _name(content.get("name")) or prefix,
        "prefix": prefix,
        "labels": content.get("labels"),
        "modality": _modality(content.get("modality")),
    }
    return {key: answers[key] for key in definition.open_questions}


def _name(name: object) -> str:
    """Return the task's name without what folders and definitions cannot have in names."""
    return "".join(c for c in str(name or "") if c.isalnum() or c in " .-").strip(" .-")[:50]


def _prefix(names: Sequence[str]) -> str:
    """Return what stands before the number in the names of all scans."""
    found = {PurePosixPath(name).name.partition(".")[0].rpartition("_")[0] for name in names}
    if len(found) != 1:
        raise ValueError(f"it lists scans of several names: {reprlib.repr(sorted(found))}")
    return found.pop()


def _modality(channels: object) -> str:
    """Return "ct", "mri" or "und" for the names of channels, such as ``{"0": "CT"}``."""
    values = channels.values() if isinstance(channels, dict) else [channels]
    found = {str(value).strip().upper() for value in values}
    if found == {"CT"}:
        return "ct"
    return "mri" if found <= _MR_CHANNELS else "und"


def _read(ref: FileRef) -> dict[str, Any]:
    content = json.loads(read_bytes(ref, _LARGEST_JSON))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _entries(content: Mapping[str, Any], sections: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield section and name of every image that is listed."""
    for key in sections:
        entries = content.get(key) or []
        if not isinstance(entries, list):
            raise ValueError(f"{key} is not a list")
        for entry in entries:
            yield key, str(entry.get("image") if isinstance(entry, dict) else entry)


def find_subsets(
    ref: FileRef, by_name: dict[int, str], definition: DatasetDefinition
) -> tuple[dict[int, str], list[Issue]]:
    """Return number -> subset of the scans that are there, and what is odd.

    Parameters
    ----------
    ref : FileRef
        ``dataset.json``.
    by_name : dict of int to str
        Number -> subset of the scans that are there, as folder or number tell it.
    definition : DatasetDefinition
        Which section of it is which subset.
    """
    try:
        listed = _read_subsets(ref, definition)
    except _UNUSABLE as error:
        issue = partial(make_issue, file=ref.path, action="subsets taken from the folders")
        return by_name, [issue("bad_dataset_json", f"not usable: {error}")]
    issues = []
    for number in sorted({*by_name, *listed}):
        issue = partial(make_issue, sample=definition.sample_id(number), file=ref.path)
        ours, theirs = by_name.get(number), listed.get(number)
        if ours is None:
            message = f"listed as {theirs}, but there is no file of it"
            issues.append(issue("listed_but_absent", message))
        elif theirs is None:
            action = f"{ours} taken from the folder"
            issues.append(issue("not_in_dataset_json", "not listed", action=action))
        elif theirs != ours:
            message = f"listed as {theirs}, but its folder says {ours}"
            issues.append(issue("subset_mismatch", message, action=f"{theirs} used"))
    return {number: listed.get(number, ours) for number, ours in by_name.items()}, issues


def _read_subsets(ref: FileRef, definition: DatasetDefinition) -> dict[int, str]:
    listed: dict[int, str] = {}
    for key, name in _entries(_read(ref), definition.dataset_json):
        file_name, subset = PurePosixPath(name).name, definition.dataset_json[key]
        number = definition.number_of(file_name)
        if number is None:
            raise ValueError(f"{key} lists {reprlib.repr(name)}")
        if listed.setdefault(number, subset) != subset:
            raise ValueError(f"{file_name} is listed as {listed[number]} and as {subset}")
    return listed
