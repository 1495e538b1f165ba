"""``dataset.json``: the subsets of scans, and what a task of the Decathlon or of nnU-Net is."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from amos_dask.archive.sources import read_bytes
from amos_dask.datasets import SUBSETS_AS_WRITTEN, DatasetDefinition, make_definition
from amos_dask.errors import ArchiveError, DatasetError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import ITK_ENDINGS, FileRef, file_name
from amos_dask.handwritten import parse_yaml
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import label_key
from amos_dask.records import by_number

_LARGEST_JSON = 8 << 20
_UNUSABLE = (UnreadableImageError, InaccessibleFileError, ValueError, RecursionError)
# What the tasks of the Decathlon call the channels of MR scans.
_MR_CHANNELS = frozenset({"MRI", "MR", "FLAIR", "T1", "T1W", "T1GD", "T2", "T2W", "ADC"})
_ENDINGS = (".nii.gz", ".nii", *ITK_ENDINGS)
_IMAGES = ("imagesTr", "imagesTs")
_PREFIX = r"[A-Za-z][A-Za-z0-9-]{0,29}"


def complete_definition(
    definition: DatasetDefinition, files: Sequence[FileRef], found: Sequence[FileRef], shown_as: str
) -> DatasetDefinition:
    """Return a definition in which what ``dataset.json`` is to tell is said.

    Parameters
    ----------
    definition : DatasetDefinition
        With or without open questions.
    files, found : sequence of FileRef
        All files of the archive, and the outermost ``dataset.json`` among them.
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
        told = _answers(_read(found[0]), definition, files, found[0])
        return make_definition({**definition.content, **told}, where)
    except DatasetError as error:
        raise ArchiveError(
            f"{error} Copy the dataset's definition, write it there, and name that with --dataset."
        ) from error
    except _UNUSABLE as error:
        raise ArchiveError(f"{where}: does not tell what the dataset is ({error}).") from error


def _answers(
    content: Mapping[str, Any],
    definition: DatasetDefinition,
    files: Sequence[FileRef],
    ref: FileRef,
) -> dict[str, object]:
    """Return what a definition leaves open, as its file would say it."""
    listed = [name for _, name in _entries(content, definition.dataset_json)]
    name = _plain(content.get("name") or "", " .-").strip(" .-")[:50] or _folder_name(ref)
    labels = _labels(content)
    # As the Decathlon or nnU-Net v2 tells them: number -> name.
    channels = content.get("channel_names") or content.get("modality")
    common = "" if listed else _common_prefix(files)
    made_up = re.sub(r"[^a-z0-9-]", "", name.lower()).lstrip("0123456789-") or "case"
    answers: dict[str, Callable[[], object]] = {
        "name": lambda: name or _prefix(listed),
        "prefix": lambda: _prefix(listed) if listed else common or made_up,
        "labels": lambda: labels,
        "modality": lambda: _modality(channels),
        "channels": lambda: _told_channels(channels, content, definition),
    }
    told = {key: answers[key]() for key in definition.open_questions}
    if "prefix" in told and not (listed or common):
        told["case_names"] = "id"
    if "labels" in told and isinstance(definition.denoised, tuple) and isinstance(labels, dict):
        known = {label_key(str(found)) for found in labels.values()}
        told["denoise"] = [one for one in definition.denoised if label_key(one) in known] or "none"
    return told


def _plain(name: object, besides: str) -> str:
    """Return a name without what folders and definitions cannot have in names."""
    return "".join(c for c in str(name) if c.isalnum() or c in besides)


def _folder_name(ref: FileRef) -> str:
    """Return what its folder, or else its zip or tar, calls the dataset, as nnU-Net names them."""
    inside = PurePosixPath(ref.location if ref.member is None else ref.path).parent.name
    match = re.fullmatch(r"Dataset\d{3}_(.+?)(?:\.zip|\.tar)?", inside or file_name(ref.location))
    return _plain(match[1], " .-").strip(" .-")[:50] if match else ""


def _prefix(names: Sequence[str]) -> str:
    """Return what stands before the number in the names of all scans."""
    if not names:
        raise ValueError("it names no dataset, nor does a folder such as Dataset001_Name")
    found = {name.rpartition("/")[2].partition(".")[0].rpartition("_")[0] for name in names}
    if len(found) != 1:
        raise ValueError(f"it lists scans of several names: {reprlib.repr(sorted(found))}")
    return found.pop()


def _common_prefix(files: Sequence[FileRef]) -> str:
    """Return what all ids begin with, as far as ``_``; empty where they do not."""
    ends = (ref.path.split("/")[-2:] for ref in files)
    found = (end[-1] for end in ends if end[0] in _IMAGES and len(end) == 2)
    names = {name.partition("_") for name in found if not name.startswith(".")}
    # An id without ``_`` is followed by the channel's number only.
    prefixes = {before if "_" in rest else "" for before, between, rest in names if between}
    first = prefixes.pop() if len(prefixes) == 1 else ""
    return first if re.fullmatch(_PREFIX, first) else ""


def _labels(content: Mapping[str, Any]) -> object:
    """Return label -> name; nnU-Net v2 has it the other way round, and regions of several."""
    labels = content.get("labels")
    if not isinstance(labels, dict) or all(str(key).isdecimal() for key in labels):
        return labels
    order = [str(label) for label in content.get("regions_class_order") or []]
    regions = [name for name in labels if name.lower() != "background"]
    names = {str(v): name for name, v in labels.items() if not isinstance(v, list)}
    names |= {label: name for label, name in zip(order, regions, strict=False) if name}
    parts = {str(v) for value in labels.values() if isinstance(value, list) for v in value}
    return {**{label: f"label {label}" for label in sorted(parts - names.keys())}, **names}


def _told_channels(
    found: object, content: Mapping[str, Any], definition: DatasetDefinition
) -> object:
    """Return the channels as a definition says them: files of their own, or a fourth axis."""
    if (ending := str(content.get("file_ending", ".nii.gz"))) not in _ENDINGS:
        raise ValueError(f"its files end in {ending}, and {', '.join(_ENDINGS)} are read")
    if not isinstance(found, dict):
        found = {"0": found}
    names = [_plain(name, " _.+-")[:40] or "channel" for name in found.values()]
    if len(set(names)) < len(names):
        names = [f"{name} {number}" for number, name in zip(found, names, strict=True)]
    has_files = any("{channel}" in place for each in definition.volumes.values() for place in each)
    if has_files:
        return {name: f"{int(k):04d}" for k, name in zip(found, names, strict=True)}
    return names


def _modality(channels: object) -> str:
    """Return "ct", "mri" or "und" for the names of channels, such as ``{"0": "CT"}``."""
    values = channels.values() if isinstance(channels, dict) else [channels]
    found = {str(value).strip().upper() for value in values}
    if found == {"CT"}:
        return "ct"
    return "mri" if found <= _MR_CHANNELS else "und"


def read_subset_lists(ref: FileRef, definition: DatasetDefinition) -> dict[str, str]:
    """Return seq -> subset as a JSON or YAML file of the archive, subset -> list of ids, tells.

    Raises `ArchiveError` when it cannot be read, or is no such list.
    """
    try:
        content = parse_yaml(read_bytes(ref, _LARGEST_JSON).decode())  # which reads JSON too
        if not isinstance(content, dict):
            raise ValueError("not lists by subset")
        told: dict[str, str] = {}
        for key, ids in content.items():
            subset = SUBSETS_AS_WRITTEN.get(str(key).strip().lower())
            if subset is None or not isinstance(ids, list):
                raise ValueError(f"{key!r} is no subset with a list of ids")
            for one in ids:
                seq = definition.find_seq(str(one))
                if seq is None or told.setdefault(seq, subset) != subset:
                    raise ValueError(f"{one!r} is no id, or in two lists")
        return told
    except _UNUSABLE as error:
        reason = " ".join(str(error).split())
        raise ArchiveError(f"{ref.path}: not a readable list of subsets ({reason}).") from error


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
    ref: FileRef, by_name: dict[str, str], definition: DatasetDefinition
) -> tuple[dict[str, str], list[Issue]]:
    """Return seq -> subset of the scans that are there, and what is odd.

    ``by_name`` is what folder or number tell of each; ``dataset.json`` overrides it.
    """
    try:
        listed = _read_subsets(ref, definition)
    except _UNUSABLE as error:
        issue = partial(make_issue, file=ref.path, action="subsets taken from the folders")
        return by_name, [issue("bad_dataset_json", f"not usable: {error}")]
    issues = []
    for seq in sorted({*by_name, *listed}, key=by_number):
        issue = partial(make_issue, sample=definition.sample_id(seq), file=ref.path)
        ours, theirs = by_name.get(seq), listed.get(seq)
        if ours is None:
            message = f"listed as {theirs}, but there is no file of it"
            issues.append(issue("listed_but_absent", message))
        elif theirs is None:
            action = f"{ours} taken from the folder"
            issues.append(issue("not_in_dataset_json", "not listed", action=action))
        elif theirs != ours:
            message = f"listed as {theirs}, but its folder says {ours}"
            issues.append(issue("subset_mismatch", message, action=f"{theirs} used"))
    return {seq: listed.get(seq, ours) for seq, ours in by_name.items()}, issues


def _read_subsets(ref: FileRef, definition: DatasetDefinition) -> dict[str, str]:
    listed: dict[str, str] = {}
    for key, name in _entries(_read(ref), definition.dataset_json):
        bare, subset = name.rpartition("/")[2], definition.dataset_json[key]
        seq = definition.seq_in(bare)
        if seq is None:
            raise ValueError(f"{key} lists {reprlib.repr(name)}")
        if listed.setdefault(seq, subset) != subset:
            raise ValueError(f"{bare} is listed as {listed[seq]} and as {subset}")
    return listed
