"""Which samples a command works on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from amos_dask.datasets import AMOS22, MODALITIES, SUBSETS
from amos_dask.errors import AmosDaskError
from amos_dask.records import Sample
from amos_dask.root.layout import SampleFolder, group_name

_ID = re.compile(r"(?:(.+)_)?(\d{1,9})")
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

    Examples
    --------
    >>> amos_dask.Selection(ids=["1-20", "amos_0507"], subset="train").is_everything
    False
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
        if self.modality not in (None, *MODALITIES):
            raise AmosDaskError(f"{self.modality!r} is not a modality; choose from {MODALITIES}.")

    def choose(self, samples: Iterable[Sample]) -> list[Sample]:
        """Return the chosen samples.

        Raises
        ------
        AmosDaskError
            When an id has no sample, or an id cannot be understood.
        """
        samples = list(samples)
        is_chosen = self._by_number({(sample.prefix, int(sample.seq)) for sample in samples})
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
        is_chosen = self._by_number({(folder.prefix, int(folder.seq)) for folder in folders})
        modality = self.modality
        return [
            folder
            for folder in folders
            if is_chosen(int(folder.seq))
            and self.subset in (None, folder.path.parent.parent.name)
            and (modality is None or _group(folder) == group_name(folder.prefix, modality))
        ]

    def _by_number(self, existing: set[tuple[str, int]]) -> Callable[[int], bool]:
        if self.ids is None:
            return lambda number: True
        spans = [_parse(text) for text in _split(self.ids)]
        if not spans:
            raise AmosDaskError("--ids names no sample.")
        prefixes = {prefix for prefix, _ in existing}
        for named, first, last in spans:
            ours = prefixes if named is None else prefixes & {named}
            if not any(first <= number <= last for prefix, number in existing if prefix in ours):
                shown = f"{first:04d}" if first == last else f"{first:04d}-{last:04d}"
                prefix = named or min(prefixes, default=AMOS22.prefix)
                raise AmosDaskError(f"--ids: there is no sample {prefix}_{shown} to choose.")
        return lambda number: any(first <= number <= last for _, first, last in spans)


EVERYTHING = Selection()


def _group(folder: SampleFolder) -> str:
    """Return the name of the folder of a sample's modality."""
    return folder.path.parent.parent.parent.name


def _split(ids: Iterable[str]) -> list[str]:
    return [part for text in ids for part in re.split(r"[,\s]+", text) if part]


def _parse(text: str) -> tuple[str | None, int, int]:
    """Return the prefix, if one is named, and the first and last number."""
    if match := _ID.fullmatch(text):
        return match[1], int(match[2]), int(match[2])
    if match := _RANGE.fullmatch(text):
        return None, int(match[1]), int(match[2])
    raise AmosDaskError(f"--ids: {text!r} is neither a number, nor an id, nor a range.")
