"""How long the stages of each sample took."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class StageTimes:
    """Seconds of wall time by stage, in the order in which stages first ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the time of the ``with`` block to a stage's; blocks are not to be nested."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


def write_times(folder: Path, sample_id: str, seconds: Mapping[str, float]) -> None:
    """Keep the times of a sample that was processed as a whole."""
    rounded = {stage: round(spent, 4) for stage, spent in seconds.items()}
    folder.mkdir(parents=True, exist_ok=True)
    # Not flushed to disk: times are for information, and a damaged file is no loss.
    (folder / f"{sample_id}.json").write_text(json.dumps(rounded), encoding="utf-8")


def read_times(folder: Path) -> dict[str, dict[str, float]]:
    """Return sample -> stage -> seconds, of the samples whose times are kept."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = {str(stage): float(spent) for stage, spent in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            continue
    return found
