"""Which samples a command works on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from amos_dask.datasets import MODALITIES, SUBSETS
from amos_dask.errors import AmosDaskError
from amos_dask.records import Sample
from amos_dask.root.layout import SampleFolder, group_name

_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")


@dataclass(frozen=True)
class Selection:
    """A choice of samples; None means all.

    Parameters
    ----------
    ids : sequence of str, optional
        Numbers, ids and ranges of numbers: ``4``, ``0004``, ``amos_0004``, ``1-20``; commas
        separate several. What is the id of a sample is no range.
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

    def choose(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Return the chosen samples.

        Raises
        ------
        AmosDaskError
            When an id has no sample, or an id cannot be understood.
        """
        if self.is_everything:
            return samples
        is_chosen = self._by_id({(sample.prefix, sample.seq) for sample in samples})
        return [
            sample
            for sample in samples
            if is_chosen(sample.seq)
            and self.subset in (None, sample.subset)
            and self.modality in (None, sample.modality)
        ]

    def choose_folders(self, folders: Iterable[SampleFolder]) -> list[SampleFolder]:
        """Return the chosen sample folders, whose path tells subset and modality."""
        folders = list(folders)
        is_chosen = self._by_id({(folder.prefix, folder.seq) for folder in folders})
        modality = self.modality
        return [
            folder
            for folder in folders
            if is_chosen(folder.seq)
            and self.subset in (None, folder.path.parent.parent.name)
            and (
                not modality
                or folder.path.parent.parent.parent.name == group_name(folder.prefix, modality)
            )
        ]

    def _by_id(self, existing: set[tuple[str, str]]) -> Callable[[str], bool]:
        if self.ids is None:
            return lambda seq: True
        texts = [part for text in self.ids for part in re.split(r"[,\s]+", text) if part]
        if not texts:
            raise AmosDaskError("--ids names no sample.")
        prefix = min((prefix for prefix, _ in existing), default="")
        seqs = {seq for _, seq in existing}
        chosen = set[str]()
        for text in texts:
            found = _find(text, prefix, seqs)
            if not found:
                raise AmosDaskError(f"--ids: {_why_none(text, prefix, seqs)}.")
            chosen |= found
        return lambda seq: seq in chosen


EVERYTHING = Selection()


def _find(text: str, prefix: str, seqs: Collection[str]) -> set[str]:
    """Return the seqs that a text means: an id as it is, else a number, else a range of numbers."""
    seq = text.removeprefix(f"{prefix}_")
    if seq in seqs or text in seqs:  # an id may begin like the prefix
        return {seq if seq in seqs else text}
    match = _RANGE.fullmatch(text)
    first, last = (match[1], match[2]) if match else (seq, seq)
    if not (first.isdecimal() and last.isdecimal()):
        return set()
    return {one for one in seqs if one.isdecimal() and int(first) <= int(one) <= int(last)}


def _why_none(text: str, prefix: str, seqs: Collection[str]) -> str:
    match = _RANGE.fullmatch(text)
    seq = text.removeprefix(f"{prefix}_")
    is_number = re.fullmatch(r"(?:.+_)?\d{1,9}", text) is not None
    if not (match or is_number) and all(map(str.isdecimal, seqs)):
        return f"{text!r} is neither a number, nor an id, nor a range"
    if match:
        seq = f"{match[1].zfill(4)}-{match[2].zfill(4)}"
    is_id = is_number and not seq.isdecimal()  # with another prefix
    padded = seq.zfill(4) if seq.isdecimal() else seq
    return f"there is no sample {seq if is_id else f'{prefix}_{padded}'} to choose"
