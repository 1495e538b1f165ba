"""Parameters of the steps, and what denoising leaves as it was, for all or some samples."""

from __future__ import annotations

import csv
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import AmosDaskError, ExclusionsError
from amos_dask.handwritten import find_delimiter, is_about_delimiter, read_text
from amos_dask.labels import BACKGROUND, LabelMap, label_key


@dataclass(frozen=True, slots=True)
class DenoiseParams:
    """Parameters of the denoising step."""

    kernel_size: tuple[int, int] = (5, 5)  # pixels of the structuring element along x and y
    filter_halfedge: int = 3  # half-width h of the voting box, which is 2h + 1 pixels wide
    region_area_thresh: float = 10.0  # slice regions below this area in mm2 are small

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
    """What the outcome of a sample depends on besides its files and metadata."""

    dataset: DatasetDefinition  # how its files are read, and what its labels mean
    label_map: LabelMap  # the labels a mask may hold
    denoise: DenoiseParams = field(default_factory=DenoiseParams)
    region_volume_thresh: tuple[float, ...] = (100.0,)  # mm3; smaller regions are listed
    excluded: frozenset[int] = frozenset()  # labels that denoising leaves as they were


@dataclass(frozen=True, slots=True)
class ArraySettings:
    """How volumes and masks become arrays to train on."""

    form: str = "nifti"  # of the files: or ``npz``, ``zarr``
    orientation: str | None = None  # such as RAS; None as stored
    spacing_mm: tuple[float, float, float] | None = None  # along the axes after that; None as it is
    is_median: bool = False  # the spacing is the median of the scans with labels
    interpolation: str = "linear"  # of volumes: or ``cubic``
    window: tuple[float, float] | None = None  # values that become 0 and 1
    percentiles: tuple[float, float] | None = None  # of a scan's values, as its window
    crop: str | None = None  # to ``body`` or ``labels``
    margin_mm: float = 10.0  # that a crop leaves around it

    def require_valid(self) -> None:
        """Raise AmosDaskError when they cannot be used."""
        spans = {"window": self.window, "percentiles": self.percentiles}
        numbers = [self.margin_mm, *(self.spacing_mm or ())]
        numbers += [value for span in spans.values() for value in span or ()]
        rules = {
            "form must be nifti, npz or zarr": self.form in ("nifti", "npz", "zarr"),
            "interpolation must be linear or cubic": self.interpolation in ("linear", "cubic"),
            "crop must be body or labels": self.crop in (None, "body", "labels"),
            "spacing must be three sizes in mm above 0, or median": self.spacing_mm is None
            or (len(self.spacing_mm) == 3 and min(self.spacing_mm) > 0),
            "give window or percentiles, not both": None in spans.values(),
            **{
                f"{name} must be two numbers, the lower first": span is None
                or (len(span) == 2 and _is_span(*span))
                for name, span in spans.items()
            },
            "percentiles must be from 0 to 100": self.percentiles is None
            or (min(self.percentiles) >= 0 and max(self.percentiles) <= 100),
            "margin must be at least 0": self.margin_mm >= 0,
            "all numbers must be finite": all(map(math.isfinite, numbers)),
        }
        for rule, is_kept in rules.items():
            if not is_kept:
                raise AmosDaskError(f"{rule}.")


def _is_span(low: float, high: float) -> bool:
    """Return whether a number is below another one, also as those of volumes, float32."""
    with np.errstate(over="ignore"):
        ends = np.array([low, high], np.float32)
    return bool(np.isfinite(ends).all() and ends[0] < ends[1])


def require_threshold(name: str, value: float) -> float:
    """Return a threshold as a float; raise AmosDaskError unless it is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise AmosDaskError(f"{name} must be a finite number of at least 0, not {value}.")
    return float(value)


EVERY_LABEL = frozenset(range(256))

_COLUMNS = ("sample", "label")
_ALL = "*"
_INDEX = re.compile(r"[0-9]{1,3}")
_LARGEST_FILE = 1 << 24  # with notes on many samples


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The labels that denoising leaves as they were; `EVERY_LABEL` stands for all of them."""

    everywhere: frozenset[int] = frozenset()  # in every sample
    by_sample: Mapping[str, frozenset[int]] = field(default_factory=dict)  # besides
    text: str = field(default="", repr=False, compare=False)  # the file that says so
    of_dataset: frozenset[int] = frozenset()  # by the dataset's definition

    @property
    def checksum(self) -> str:
        """Checksum of what the list says, whatever its form; empty where it excludes nothing."""
        told = sorted((sample, sorted(labels)) for sample, labels in self.by_sample.items())
        if not (self.everywhere or told):
            return ""
        return f"{zlib.crc32(repr((sorted(self.everywhere), told)).encode()):08x}"

    def for_sample(self, sample_id: str) -> frozenset[int]:
        """Return the excluded labels of such as ``amos_0004``; `EVERY_LABEL` for all of it."""
        return self.of_dataset | self.everywhere | self.by_sample.get(sample_id, frozenset())

    def with_dataset(self, dataset: DatasetDefinition, label_map: LabelMap) -> Exclusions:
        """Return the same with the labels that a dataset's definition leaves as they are."""
        left = frozenset(dataset.not_denoised(label_map))
        every = left and left == frozenset(label_map) - {BACKGROUND}
        return replace(self, of_dataset=EVERY_LABEL if every else left)

    def find_ended(self, earlier: Exclusions, names: Mapping[int, str]) -> list[str]:
        """Return what an earlier list excluded and this one does not, in words."""
        found = [("every sample", earlier.everywhere - self.everywhere)]
        found += [
            (s, labels - self.for_sample(s)) for s, labels in sorted(earlier.by_sample.items())
        ]
        return [f"{sample} {_in_words(labels, names)}" for sample, labels in found if labels]


def _in_words(labels: frozenset[int], names: Mapping[int, str]) -> str:
    known = [name for label, name in names.items() if label in labels]
    return "(all labels)" if len(known) == len(names) else ", ".join(known)


NO_EXCLUSIONS = Exclusions()


def read_exclusions(path: Path, label_map: LabelMap, dataset: DatasetDefinition) -> Exclusions:
    """Read a csv file with the columns ``sample`` and ``label``, in any encoding and delimiter.

    A sample is ``amos_0004`` or ``4``, as the dataset writes ids, a label a number or a name of the
    label map; ``*`` or nothing stands for all. Blank rows and lines that begin with ``#`` are left
    aside.

    Raises
    ------
    ExclusionsError
        When the file cannot be read, or a line is not understood.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ExclusionsError(f"{path}: larger than 16 MiB, so not a list of exclusions.")
        text = read_text(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ExclusionsError(f"{path}: not a readable list of exclusions ({reason}).") from error
    # By name and by number; where a name looks like a number, the number counts.
    labels = {label_key(name): label for label, name in label_map.names().items()}
    labels |= {str(label): label for label in label_map}
    chosen: dict[str, frozenset[int]] = {_ALL: frozenset()}
    for where, sample, label in _rows(path, text):
        try:
            sample = _sample_id(sample, dataset)
            chosen[sample] = chosen.get(sample, frozenset()) | _labels(label, labels)
        except ValueError as error:
            raise ExclusionsError(f"{where}: {error}.") from error
    return Exclusions(chosen.pop(_ALL), chosen, text)


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


def _sample_id(sample: str, dataset: DatasetDefinition) -> str:
    """Return the sample's id, or what stands for all samples."""
    if sample in ("", _ALL):
        return _ALL
    seq = dataset.find_seq(sample)
    if seq is None:
        such = f"{dataset.prefix}_0004, 4" if dataset.has_numbers else dataset.sample_id("case-1")
        raise ValueError(f"{sample!r} is no sample such as {such} or {_ALL}")
    return dataset.sample_id(seq)


def _labels(label: str, known: Mapping[str, int]) -> frozenset[int]:
    if label in ("", _ALL):
        return EVERY_LABEL
    name = str(int(label)) if _INDEX.fullmatch(label) else label_key(label)
    if name not in known:
        raise ValueError(f"the label map has no label {label!r}")
    return frozenset({known[name]})
