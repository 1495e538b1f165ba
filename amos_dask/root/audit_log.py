"""What the headers of the archive said, kept so that unchanged files are not opened again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amos_dask.issues import Issue
from amos_dask.records import Audit, FileAudit, Sample
from amos_dask.root.identity import input_identity
from amos_dask.root.staging import write_text


class AuditLog:
    """The file of audits: a line a sample, appended when it arrives.

    Parameters
    ----------
    path : Path
        ``.amos-dask/audits.jsonl`` under ROOT_DIR.
    version : int
        Version of the audit's result; entries of other versions are not used.
    samples : sequence of Sample
        The archive as it is now.
    """

    def __init__(self, path: Path, version: int, samples: Sequence[Sample]) -> None:
        self._path = path
        self._keys = {sample.sample_id: [version, *_identities(sample)] for sample in samples}

    def read(self) -> dict[str, Audit]:
        """Return the audits that still hold, by sample: their files are the same."""
        found = {}
        for key, content in self._entries():
            try:
                audit = _audit(content)
                if key == self._keys.get(audit.sample_id) and None not in key:
                    found[audit.sample_id] = audit
            except (LookupError, TypeError, AttributeError):
                continue
        return found

    def append(self, audit: Audit) -> None:
        """Keep one more audit, unless it is of a file that cannot be recognised."""
        if None in self._keys[audit.sample_id]:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + self._line(audit))  # the last line may have been cut short by a kill

    def compact(self, audits: Mapping[str, Audit]) -> None:
        """Keep these audits and no others; nothing is written when there are no others."""
        kept = [audit for name, audit in audits.items() if None not in self._keys[name]]
        if len(self._lines()) > len(kept):
            write_text(self._path, "\n".join(self._line(audit) for audit in kept))

    def _line(self, audit: Audit) -> str:
        content = {"key": self._keys[audit.sample_id], "audit": asdict(audit)}
        return json.dumps(content, ensure_ascii=False)

    def _entries(self) -> list[tuple[list[Any], Any]]:
        entries = []
        for line in self._lines():
            try:
                content = json.loads(line)
                entries.append((list(content["key"]), content["audit"]))
            except (ValueError, LookupError, TypeError):
                continue
        return entries

    def _lines(self) -> list[str]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line for line in text.split("\n") if line]


def _identities(sample: Sample) -> list[Any]:
    """Return path and identity of a sample's files; None where a file cannot be told."""
    found: list[Any] = []
    for ref in (sample.volume, sample.mask):
        known = None if ref is None else input_identity(ref)
        found.append("no file" if ref is None else known and [ref.path, known])
    return found


def _audit(content: dict[str, Any]) -> Audit:
    files = tuple(
        FileAudit(
            **{**file, "shape": _tuple(file["shape"]), "pixdim_mm": _tuple(file["pixdim_mm"])}
        )
        for file in content["files"]
    )
    issues = tuple(Issue(**issue) for issue in content["issues"])
    return Audit(content["sample_id"], files, issues)


def _tuple(values: list[Any] | None) -> Any:
    return None if values is None else tuple(values)
