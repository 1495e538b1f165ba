"""Where a dataset's files lie: what a place such as ``imagesTr/amos_{number}`` matches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from amos_dask.datasets.forms import Subset

Kind = Literal["volume", "mask"]
# An id that is no number; it begins and ends as names of files may, on every system.
ID = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}?[A-Za-z0-9_-])?"
# nnU-Net's names of images end in the channel's number.
_CHANNEL_0 = r"(?:_0000)?"
_ENDING = r"\.(?:nii|hdr|img)(?:\.gz)?"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_EXAMPLES = {"number": "1", "id": "case-1"}


class ScanFile(NamedTuple):
    """What the path of a scan's file tells.

    Parameters
    ----------
    seq : str
        The scan's number with at least four digits, or its id.
    kind : {"volume", "mask"}
        What the file is.
    subset : str or None
        Its official subset; None where its place does not tell.
    part : int
        Of a volume the channel, from 0; of a mask its only label, or 0 where it holds all.
    """

    seq: str
    kind: Kind
    subset: Subset | None
    part: int


class FileRule(NamedTuple):
    """Files of one kind, and of one subset.

    Parameters
    ----------
    kind : {"volume", "mask"}
        What they are.
    subset : str or None
        Their subset; None where something else tells it.
    place : str
        Their folders and name, with placeholders.
    path, name : re.Pattern
        Their paths, as far as the place tells them, and their names alone. Forms of images that
        cannot be read match too: such a scan is an error and not a stray file.
    spellings : mapping of str to int
        What stands for ``{channel}`` or ``{label}`` -> channel or label.
    example : str
        Such a file, for messages.
    """

    kind: Kind
    subset: Subset | None
    place: str
    path: re.Pattern[str]
    name: re.Pattern[str]
    spellings: Mapping[str, int]
    example: str

    @property
    def folder(self) -> str:
        """The innermost folder they lie in; empty for any, or where its name tells the scan."""
        folder = self.place.rpartition("/")[0].rpartition("/")[2]
        return "" if "{" in folder else folder

    @property
    def n_literal(self) -> int:
        """How much of the place is spelled out."""
        return len(_PLACEHOLDER.sub("", self.place).replace("*", ""))

    def find(self, path: PurePosixPath) -> ScanFile | None:
        """Return what a file is; None where it is none of these."""
        parts = path.parts[-1 - self.place.count("/") :]
        match = self.path.fullmatch("/".join(parts))
        return None if match is None else self._told(match)

    def find_by_name(self, name: str) -> ScanFile | None:
        """Return what a file is, wherever it lies."""
        match = self.name.fullmatch(name)
        tells = match is not None and {"number", "id"} & match.groupdict().keys()
        return self._told(match) if match is not None and tells else None

    def _told(self, match: re.Match[str]) -> ScanFile:
        told = match.groupdict()
        part = self.spellings[told["part"]] if "part" in told else 0
        number = told.get("number")
        seq = told["id"] if number is None else number_seq(int(number))
        return ScanFile(seq, self.kind, self.subset, part)


def fits(place: str, path: PurePosixPath) -> bool:
    """Return whether a path ends as a place without placeholders says; ``*`` is no ``/``."""
    end = "/".join(path.parts[-1 - place.count("/") :])
    return re.fullmatch(_literal(place), end) is not None


def number_seq(number: int) -> str:
    """Return how a scan's number is written in its id: with at least four digits."""
    return f"{number:04d}"


def make_rule(
    kind: Kind,
    subset: Subset | None,
    place: str,
    spellings: Mapping[str, int],
    *,
    prefix: str,
    digits: int,
) -> FileRule:
    """Return what a place stands for.

    Parameters
    ----------
    kind : {"volume", "mask"}
        What lies there.
    subset : str or None
        The subset whose files lie there.
    place : str
        Folders and a name, with ``{number}`` or ``{id}`` and other placeholders.
    spellings : mapping of str to int
        What may stand for ``{channel}`` or ``{label}``.
    prefix : str
        Stands for ``{prefix}``.
    digits : int
        The least number of digits in ``{number}``.
    """
    place = place.replace("{prefix}", prefix)
    index = "|".join(sorted(map(re.escape, spellings), key=len, reverse=True))
    patterns = {
        "number": f"[0-9]{{{digits},9}}",
        "id": ID,
        "channel": index,
        "label": index,
    }
    examples = {**_EXAMPLES, "number": f"{1:0{digits}d}", **dict.fromkeys(("channel", "label"), "")}
    for spelling in spellings:
        examples |= {"channel": spelling, "label": spelling}
        break
    ending = (_CHANNEL_0 if place.endswith("{number}") else "") + _ENDING
    name = place.rpartition("/")[2]
    return FileRule(
        kind,
        subset,
        place,
        re.compile(_pattern(place, patterns) + ending, re.ASCII),
        re.compile(_pattern(name, patterns) + ending, re.ASCII),
        spellings,
        _PLACEHOLDER.sub(lambda found: examples[found[1]], place) + ".nii.gz",
    )


def _pattern(place: str, patterns: Mapping[str, str]) -> str:
    """Return a pattern with a group for each placeholder, which is the same wherever it stands."""
    pattern, at, known = "", 0, set[str]()
    for found in _PLACEHOLDER.finditer(place):
        what = found[1]
        group = what if what in ("number", "id") else "part"
        pattern += _literal(place[at : found.start()])
        pattern += f"(?P={group})" if group in known else f"(?P<{group}>{patterns[what]})"
        known.add(group)
        at = found.end()
    return pattern + _literal(place[at:])


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\*", "[^/]*")
