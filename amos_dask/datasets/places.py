"""Where a dataset's files lie: what a place such as ``imagesTr/amos_{number}`` matches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator

from amos_dask.datasets.forms import Subset, made_of_text, of_form
from amos_dask.file_refs import IMAGE_ENDING

Kind = Literal["volume", "mask"]
SEQ_DIGITS = 4  # at least, of a scan's number in its id
# An id that is no number; it begins and ends as names of files may, on every system.
ID = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}?[A-Za-z0-9_-])?"
# nnU-Net's names of images end in the channel's number.
_CHANNEL_0 = r"(?:_0000)?"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PIECE = r"(?:[\w.+() *-]|\{(?:prefix|number|id|channel|label)\})+"


def _require_id(place: str) -> str:
    if ".." in place.split("/"):
        raise ValueError(f"{place!r} leads out of the archive")
    if ("{number}" in place) == ("{id}" in place):
        raise ValueError(f"{place!r} needs either {{number}} or {{id}}, which tells scans apart")
    return place


_Place = Annotated[
    str,
    of_form(
        rf"(?a:(?:{_PIECE}/)*{_PIECE})",
        "such as 'imagesTr/amos_{number}' or '{id}/{id}_seg': folders and a name, of letters, "
        "digits, . _ + - ( ) * and {prefix}, {number}, {id}, {channel}, {label}",
    ),
    AfterValidator(_require_id),
]
# Subset -> places of its files. What is no mapping is for all: something else tells the subset.
Places = Annotated[
    Mapping[Subset | None, Annotated[tuple[_Place, ...], made_of_text(lambda place: (place,))]],
    BeforeValidator(lambda it: it if isinstance(it, Mapping) else {None: it}),
]


class ScanFile(NamedTuple):
    """What the path of a scan's file tells."""

    seq: str  # the scan's number with at least four digits, or its id
    kind: Kind
    subset: Subset | None  # None where its place does not tell
    part: int  # of a volume the channel, from 0; of a mask its only label, or 0 where it holds all


class FileRule(NamedTuple):
    """Files of one kind and one subset."""

    kind: Kind
    subset: Subset | None  # None where something else tells it
    place: str  # their folders and name, with placeholders
    path: re.Pattern[str]  # as far as the place tells it
    name: re.Pattern[str]  # alone
    spellings: Mapping[str, int]  # what stands for {channel} or {label} -> channel or label
    folder: str  # the innermost; empty for any, or where its name tells the scan
    example: str  # such a file, for messages

    @property
    def n_literal(self) -> int:
        """How much of the place is spelled out."""
        return len(_PLACEHOLDER.sub("", self.place).replace("*", ""))

    def find(self, path: PurePosixPath) -> ScanFile | None:
        """Return what a file is; None where it is none of these."""
        return self._told(self.path.fullmatch(_end(path, self.place)))

    def find_by_name(self, name: str) -> ScanFile | None:
        """Return what a file is, wherever it lies; None where its name does not tell."""
        return self._told(self.name.fullmatch(name))

    def _told(self, match: re.Match[str] | None) -> ScanFile | None:
        told = match.groupdict() if match is not None else {}
        if not told.keys() & {"number", "id"}:
            return None
        seq = told["id"] if "id" in told else number_seq(int(told["number"]))
        part = self.spellings[told["part"]] if "part" in told else 0
        return ScanFile(seq, self.kind, self.subset, part)


def fits(place: str, path: PurePosixPath) -> bool:
    """Return whether a path ends as a place without placeholders says; ``*`` is no ``/``."""
    return re.fullmatch(_literal(place), _end(path, place)) is not None


def number_seq(number: int) -> str:
    """Return how a scan's number is written in its id: with at least four digits."""
    return f"{number:0{SEQ_DIGITS}d}"


def make_rule(
    kind: Kind,
    subset: Subset | None,
    place: str,
    spellings: Mapping[str, int],
    *,
    prefix: str,
    digits: int,
) -> FileRule:
    """Return what a place stands for; at least so many digits are in ``{number}``."""
    place = place.replace("{prefix}", prefix)
    folder, _, name = place.rpartition("/")
    folder = folder.rpartition("/")[2]
    part = "|".join(sorted(map(re.escape, spellings), key=len, reverse=True))
    patterns = {"number": f"[0-9]{{{digits},9}}", "id": ID, "channel": part, "label": part}
    first = next(iter(spellings), "")
    examples = {"number": "1".zfill(digits), "id": "case-1", "channel": first, "label": first}
    # Forms of images that cannot be read match too: such a scan is an error and not a stray file.
    ending = (_CHANNEL_0 if place.endswith("{number}") else "") + IMAGE_ENDING
    return FileRule(
        kind,
        subset,
        place,
        re.compile(_pattern(place, patterns) + ending, re.ASCII),
        re.compile(_pattern(name, patterns) + ending, re.ASCII),
        spellings,
        "" if "{" in folder else folder,
        _PLACEHOLDER.sub(lambda found: examples[found[1]], place) + ".nii.gz",
    )


def _pattern(place: str, patterns: Mapping[str, str]) -> str:
    """Return a pattern with a group for each placeholder, which is the same wherever it stands."""
    pattern, known = "", set[str]()
    for n, piece in enumerate(_PLACEHOLDER.split(place)):  # every second is a placeholder's name
        group = piece if piece in ("number", "id") else "part"
        if n % 2 == 0:
            pattern += _literal(piece)
        elif group in known:
            pattern += f"(?P={group})"
        else:
            pattern += f"(?P<{group}>{patterns[piece]})"
            known.add(group)
    return pattern


def _end(path: PurePosixPath, place: str) -> str:
    """Return as much of a path as a place tells."""
    return "/".join(path.parts[-1 - place.count("/") :])


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*")
