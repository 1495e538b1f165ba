"""What every benchmark is told: how large, how often, where to put data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run a benchmark.

    Parameters
    ----------
    work : Path
        Folder for phantoms (kept between runs) and outputs (removed).
    tiny : bool
        The smallest size that exercises the code; its numbers mean nothing.
    repeats : int
        Runs of each side of a comparison; sides that take minutes have fewer, which is shown.
    """

    work: Path
    tiny: bool = False
    repeats: int = 7
