"""Parameters of the steps, and what denoising leaves as it was, for all or some samples."""

from __future__ import annotations

import csv
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amos_dask.csv_text import find_delimiter, is_about_delimiter, read_text
from amos_dask.datasets import AMOS22
from amos_dask.errors import AmosDaskError, ExclusionsError
from amos_dask.labels import LabelMap


@dataclass(frozen=True, slots=True)
class DenoiseParams:
    """Parameters of the denoising step.

    Parameters
    ----------
    kernel_size : (int, int)
        Pixels of the structuring element along x and y.
    filter_halfedge : int
        Half-width h of the voting box, which is 2h + 1 pixels wide.
    region_area_thresh : float
        Slice regions below this area in mm2 are small.
    """

    kernel_size: tuple[int, int] = (5, 5)
    filter_halfedge: int = 3
    region_area_thresh: float = 10.0

    @classmethod
    def of(
        cls, kernel_size: Sequence[int], filter_halfedge: int, region_area_thresh: float
    ) -> DenoiseParams:
        """Return parameters as people give them; raise AmosDaskError when they cannot be used."""
        sizes = [int(size) for size in kernel_size]
        if len(sizes) != 2 or min(sizes) < 1:
            raise AmosDaskError(f"kernel_size must be two sizes of at least 1, not {kernel_size}.")
        if int(filter_halfedge) < 0:
            raise AmosDaskError(f"filter_halfedge must be at least 0, not {filter_halfedge}.")
        area = require_threshold("region_area_thresh", region_area_thresh)
        return cls((sizes[0], sizes[1]), int(filter_halfedge), area)


@dataclass(frozen=True, slots=True)
class Params:
    """What the outcome of a sample depends on besides its files and metadata.

    Parameters
    ----------
    label_map : LabelMap
        The labels a mask may hold.
    denoise : DenoiseParams
        Of the denoising step.
    region_volume_thresh : tuple of float
        Regions below these volumes in mm3 are listed.
    excluded : frozenset of int
        Labels that denoising leaves as they were in this sample.
    splits_prostate_uterus : bool
        Whether label 15 becomes 16 for female patients.
    """

    label_map: LabelMap = AMOS22.label_map
    denoise: DenoiseParams = field(default_factory=DenoiseParams)
    region_volume_thresh: tuple[float, ...] = (100.0,)
    excluded: frozenset[int] = frozenset()
    splits_prostate_uterus: bool = AMOS22.splits_prostate_uterus


def require_threshold(name: str, value: float) -> float:
    """Return a threshold as a float; raise AmosDaskError unless it is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise AmosDaskError(f"{name} must be a finite number of at least 0, not {value}.")
    return float(value)


EVERY_LABEL = frozenset(range(256))

_COLUMNS = ("sample", "label")
_ALL = "*"
_NUMBER = re.compile(r"[0-9]{1,9}")
_INDEX = re.compile(r"[0-9]{1,3}")
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The labels that denoising leaves as they were.

    Parameters
    ----------
    everywhere : frozenset of int
        Labels excluded in every sample; `EVERY_LABEL` where no sample is denoised.
    by_number : mapping of int to frozenset of int
        Number -> labels excluded in that sample besides; `EVERY_LABEL` for all of it.
    text : str
        The file that says so.
    """

    everywhere: frozenset[int] = frozenset()
    by_number: Mapping[int, frozenset[int]] = field(default_factory=dict)
    text: str = field(default="", repr=False, compare=False)

    @property
    def checksum(self) -> str:
        """Checksum of what the list says, whatever its form; empty where it excludes nothing."""
        told = sorted((number, sorted(labels)) for number, labels in self.by_number.items())
        if not (self.everywhere or told):
            return ""
        return f"{zlib.crc32(repr((sorted(self.everywhere), told)).encode()):08x}"

    def for_sample(self, sample_id: str) -> frozenset[int]:
        """Return the excluded labels of such as ``amos_0004``; `EVERY_LABEL` for all of it."""
        number = int(sample_id.rpartition("_")[2])
        return self.everywhere | self.by_number.get(number, frozenset())

    def find_ended(
        self, earlier: Exclusions, names: Mapping[int, str], name_sample: Callable[[int], str]
    ) -> list[str]:
        """Return what an earlier list excluded and this one does not, in words.

        Parameters
        ----------
        earlier : Exclusions
            The list before.
        names : mapping of int to str
            Label -> name.
        name_sample : callable
            Gives the id of a sample's number.
        """
        found = [("every sample", earlier.everywhere - self.everywhere)]
        for number, labels in sorted(earlier.by_number.items()):
            now = self.everywhere | self.by_number.get(number, frozenset())
            found.append((name_sample(number), labels - now))
        return [f"{sample} {_in_words(labels, names)}" for sample, labels in found if labels]


def _in_words(labels: frozenset[int], names: Mapping[int, str]) -> str:
    known = [name for label, name in names.items() if label in labels]
    return "(all labels)" if len(known) == len(names) else ", ".join(known)


NO_EXCLUSIONS = Exclusions()


def read_exclusions(path: Path, label_map: LabelMap, prefix: str = AMOS22.prefix) -> Exclusions:
    """Read a file of exclusions.

    Parameters
    ----------
    path : Path
        A csv file with the columns ``sample`` and ``label``, in any encoding and with any delimiter
        that are told or recognised. A sample is ``amos_0004`` or ``4``, a label a number or a name
        of the label map; ``*`` or nothing stands for all of them. Blank rows and lines that begin
        with ``#`` are left aside.
    label_map : LabelMap
        Labels and their names.
    prefix : str
        Before the number in the ids of the dataset's samples.

    Raises
    ------
    ExclusionsError
        When the file cannot be read, or a line is not understood.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ExclusionsError(f"{path}: larger than 1 MiB, so not a list of exclusions.")
        text = read_text(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ExclusionsError(f"{path}: not a readable list of exclusions ({reason}).") from error
    # By name and by number; where a name looks like a number, the number counts.
    labels = {_key(name): label for label, name in label_map.names().items()}
    labels |= {str(label): label for label in label_map}
    chosen: dict[int | None, frozenset[int]] = {None: frozenset()}
    for where, sample, label in _rows(path, text):
        try:
            number = _number(sample, prefix)
            chosen[number] = chosen.get(number, frozenset()) | _labels(label, labels)
        except ValueError as error:
            raise ExclusionsError(f"{where}: {error}.") from error
    by_number = {number: found for number, found in chosen.items() if number is not None}
    return Exclusions(chosen[None], by_number, text)


def _rows(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    """Yield where a row stands, its sample and its label."""
    columns = ",".join(_COLUMNS)
    header: list[str] = []
    lines = ["" if line.lstrip().startswith("#") else line for line in text.splitlines()]
    delimiter = find_delimiter("\n".join(lines))
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise ExclusionsError(f"{where}: not a line of a csv file ({error}).") from error
        cells = [cell.strip() for cell in row]
        if not any(cells) or (not header and is_about_delimiter(cells)):
            continue
        if not header:
            header = [name.casefold() for name in cells]
            if sorted(header) != sorted(_COLUMNS):
                raise ExclusionsError(f"{where}: expected the columns {columns}.")
            continue
        if any(cells[len(header) :]):
            raise ExclusionsError(f"{where}: more cells than the columns {columns}.")
        told = dict(zip(header, [*cells, ""], strict=False))  # the last cell may be left out
        yield where, told["sample"], told["label"]
    if not header:
        raise ExclusionsError(f"{path}: expected a first line {columns}.")


def _number(sample: str, prefix: str) -> int | None:
    """Return the sample's number, or None for all samples."""
    if sample in ("", _ALL):
        return None
    number = sample.removeprefix(f"{prefix}_")
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"{sample!r} is no sample such as {prefix}_0004, 4 or *")
    return int(number)


def _labels(label: str, known: Mapping[str, int]) -> frozenset[int]:
    if label in ("", _ALL):
        return EVERY_LABEL
    name = str(int(label)) if _INDEX.fullmatch(label) else _key(label)
    if name not in known:
        raise ValueError(f"the label map has no label {label!r}")
    return frozenset({known[name]})


def _key(name: str) -> str:
    """Return what two spellings of a label's name have in common, as in names of files."""
    return name.replace(" ", "_").casefold()
