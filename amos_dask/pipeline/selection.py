"""Which samples a command works on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from amos_dask.errors import AmosDaskError
from amos_dask.records import SUBSETS, Sample
from amos_dask.store.layout import GROUPS, SampleFolder

_ID = re.compile(r"(?:amos_)?(\d{1,9})")
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")


@dataclass(frozen=True)
class Selection:
    """A choice of samples; None means all.

    Parameters
    ----------
    ids : sequence of str, optional
        Numbers, ids and ranges: ``4``, ``0004``, ``amos_0004``, ``1-20``; commas separate several.
    subset, modality : str, optional
        ``train``, ``val``, ``test``; ``ct``, ``mri``, ``und``.
    """

    ids: Sequence[str] | None = None
    subset: str | None = None
    modality: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == EVERYTHING

    def __post_init__(self) -> None:
        if self.subset not in (None, *SUBSETS):
            raise AmosDaskError(f"{self.subset!r} is not a subset; choose from {SUBSETS}.")
        if self.modality not in (None, *GROUPS):
            raise AmosDaskError(f"{self.modality!r} is not a modality; choose from {(*GROUPS,)}.")

    def choose(self, samples: Iterable[Sample]) -> list[Sample]:
        """Return the chosen samples.

        Raises
        ------
        AmosDaskError
            When an id has no sample, or an id cannot be understood.
        """
        samples = list(samples)
        is_chosen = self._by_number({int(sample.seq) for sample in samples})
        return [
            sample
            for sample in samples
            if is_chosen(int(sample.seq))
            and self.subset in (None, sample.subset)
            and self.modality in (None, sample.modality)
        ]

    def choose_folders(self, folders: Iterable[SampleFolder]) -> list[SampleFolder]:
        """Return the chosen sample folders, whose path tells subset and modality."""
        folders = list(folders)
        is_chosen = self._by_number({int(folder.seq) for folder in folders})
        group = None if self.modality is None else GROUPS[self.modality]
        return [
            folder
            for folder in folders
            if is_chosen(int(folder.seq))
            and self.subset in (None, folder.path.parent.parent.name)
            and group in (None, folder.path.parent.parent.parent.name)
        ]

    def _by_number(self, existing: set[int]) -> Callable[[int], bool]:
        if self.ids is None:
            return lambda number: True
        spans = [_parse(text) for text in _split(self.ids)]
        if not spans:
            raise AmosDaskError("--ids names no sample.")
        for first, last in spans:
            if not any(first <= number <= last for number in existing):
                shown = f"{first:04d}" if first == last else f"{first:04d}-{last:04d}"
                raise AmosDaskError(f"--ids: there is no sample amos_{shown} to choose.")
        return lambda number: any(first <= number <= last for first, last in spans)


EVERYTHING = Selection()


def _split(ids: Iterable[str]) -> list[str]:
    return [part for text in ids for part in re.split(r"[,\s]+", text) if part]


def _parse(text: str) -> tuple[int, int]:
    if match := _ID.fullmatch(text):
        return int(match[1]), int(match[1])
    if match := _RANGE.fullmatch(text):
        return int(match[1]), int(match[2])
    raise AmosDaskError(f"--ids: {text!r} is neither a number, nor an id, nor a range.")
