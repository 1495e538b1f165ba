"""The issues of every step, kept so that each step replaces just its own."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from amos_dask.issues import Issue, in_order
from amos_dask.records import Step
from amos_dask.root.staging import write_text


class IssueLog:
    """The file that remembers which step found which issue; read at once, written by `save`.

    Lines that cannot be understood, as a full disk or a power cut leaves them, are passed over.

    Parameters
    ----------
    path : Path
        ``.amos-dask/issues.jsonl`` under ROOT_DIR.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = self._read()

    def replace(
        self,
        step: Step,
        issues: Iterable[Issue],
        samples: Collection[str] | None = None,
        scope: str = "",
    ) -> None:
        """Replace a step's issues.

        Parameters
        ----------
        step : Step
            The step that ran.
        issues : iterable of Issue
            What it found.
        samples : collection of str, optional
            The samples it looked at; by default all. Its issues of other samples stay.
        scope : str
            The folder that the step worked on, where it can run for several side by side, as
            for dataset manifests; issues of folders outside it stay.
        """
        key = f"{step}:{scope}" if scope else str(step)
        kept = [
            (other, issue)
            for other, issue in self._entries
            if not _is_within(other, key) or (samples is not None and _is_of_others(issue, samples))
        ]
        self._entries = [*kept, *((key, issue) for issue in issues)]

    def save(self) -> None:
        """Write the log."""
        lines = [
            json.dumps({"step": key, **asdict(issue)}, ensure_ascii=False)
            for key, issue in self._entries
        ]
        write_text(self._path, "".join(line + "\n" for line in lines))

    def all(self, besides: Step | tuple[Step, ...] = ()) -> list[Issue]:
        """Return every issue once, sorted by sample, file and code; those of steps left out."""
        left_out = {besides} if isinstance(besides, Step) else set(besides)
        found = {issue for key, issue in self._entries if key.partition(":")[0] not in left_out}
        return in_order(found)

    def _read(self) -> list[tuple[str, Issue]]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return [(step, issue) for step, issue in _entries(text) if step]


def read_issues(path: Path) -> list[Issue]:
    """Return the issues of ``issues.jsonl``, which people read, as far as they are understood."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [issue for _, issue in _entries(text)]


def _entries(text: str) -> Iterator[tuple[str, Issue]]:
    """Yield the steps, where they are told, and issues of the lines that can be understood."""
    # Not splitlines: a message may hold other characters that Unicode counts as line ends.
    for line in filter(None, text.split("\n")):
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            content = json.loads(line)
            if all(isinstance(value, str) for value in content.values()):
                yield content.pop("step", ""), Issue(**content)


def _is_within(other: str, key: str) -> bool:
    return other == key or other.startswith(f"{key}/")


def _is_of_others(issue: Issue, samples: Collection[str]) -> bool:
    return issue.sample != "" and issue.sample not in samples
