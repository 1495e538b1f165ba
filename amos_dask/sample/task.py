"""The task of making one sample: from where, by which steps, and how; and how long that took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from amos_dask.params import Params
from amos_dask.records import HeaderCheck, Step
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import EVERY_OUTPUT, Origin, Output
from amos_dask.sample.archive_source import ArchiveSource
from amos_dask.sample.source import FolderSource

Source = ArchiveSource | FolderSource
# What `run` does with a sample.
EVERY_STEP = frozenset(
    {
        Step.CONFIRM_PAIRS,
        Step.SPLIT_PROSTATE_UTERUS,
        Step.SMALL_REGIONS,
        Step.DENOISE,
        Step.BINARY_MASKS,
        Step.DATASET_MANIFEST,
    }
)


@dataclass(frozen=True, slots=True)
class SampleTask:
    """A sample to make.

    Parameters
    ----------
    source : ArchiveSource or FolderSource
        Where its scan and mask come from.
    layout : Layout
        ROOT_DIR.
    target : SampleFolder
        Where it goes.
    steps : frozenset of Step
        What is done with it.
    params : Params
        Label map, denoising and region parameters.
    outputs : frozenset of Output
        What to make; the rest is complete, as the receipt says.
    count_values : bool
        Count the volume's values under each label while it streams by, for statistics.
    take_pictures : bool
        Keep pictures of the slices that denoising changed most, for the report.
    modality : str
        ``ct`` is shown in Hounsfield units.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/``.
    discard_edits : bool
        What was edited by hand goes to ``replaced/`` and is made anew.
    keeps_info : bool
        The info file was edited by hand, and stays.
    planned : Origin or None
        What the sample was to be made from when its headers were read.
    headers : HeaderCheck or None
        What the headers of those files said, for the receipt.
    name : str
        The sample's id.
    folder : SampleFolder or None
        The folder that the sample comes from; None where that is the archive.
    """

    source: Source
    layout: Layout
    target: SampleFolder
    steps: frozenset[Step]
    params: Params
    outputs: frozenset[Output] = EVERY_OUTPUT
    count_values: bool = False
    take_pictures: bool = False
    modality: str = "und"
    adopt: bool = False
    discard_edits: bool = False
    keeps_info: bool = False
    planned: Origin | None = None
    headers: HeaderCheck | None = None
    name: str = field(init=False)
    folder: SampleFolder | None = field(init=False)

    def __post_init__(self) -> None:
        folder = self.source.folder if isinstance(self.source, FolderSource) else None
        object.__setattr__(self, "name", self.source.sample_id)
        object.__setattr__(self, "folder", folder)

    @property
    def own_step(self) -> Step:
        """The step whose issues are replaced when the task runs again."""
        if self.folder is None:
            return Step.CONFIRM_PAIRS
        steps = (Step.SPLIT_PROSTATE_UTERUS, Step.DENOISE, Step.RESTORE, Step.BINARY_MASKS)
        return next((step for step in steps if step in self.steps), Step.SMALL_REGIONS)


class Clock:
    """Seconds of wall time by what they were spent on, in the order in which it first ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, what: str) -> None:
        """Say what the time since the last lap was spent on."""
        now = time.perf_counter()
        self.seconds[what] = round(self.seconds.get(what, 0.0) + now - self._last, 4)
        self._last = now
