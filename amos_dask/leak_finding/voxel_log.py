"""Checksums of volumes' voxels, kept so that unchanged volumes are not read again."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from amos_dask.root.identity import identity
from amos_dask.root.staging import write_text


class VoxelLog:
    """The file that remembers checksums by volume; read at once, written by `save`.

    Parameters
    ----------
    path : Path
        ``.amos-dask/voxels.json`` under ROOT_DIR.
    root : Path
        ROOT_DIR, to which names of volumes are relative.
    version : int
        Version of the checksums; those of other versions are not used.
    """

    def __init__(self, path: Path, root: Path, version: int) -> None:
        self._path = path
        self._root = root
        self._version = version
        self._volumes = self._read()
        self._before = self._text()
        self._identities: dict[str, str | None] = {}

    def known(self, volume: str, kind: str) -> str | None:
        """Return a checksum of a volume as it is now; None where it is not known."""
        entry = self._volumes.get(volume, {})
        is_same = entry.get("identity") == self._identity(volume) is not None
        return entry.get(kind) if is_same else None

    def keep(self, volume: str, kind: str, checksum: str) -> None:
        """Remember a checksum of a volume that has not changed since it was first asked for."""
        now = self._identity(volume)
        if now is None:
            return
        entry = self._volumes.get(volume, {})
        if entry.get("identity") != now:
            entry = {"identity": now}
        self._volumes[volume] = {**entry, kind: checksum}

    def save(self, volumes: Collection[str]) -> None:
        """Write what is known of some volumes, unless that is there already; forget others."""
        self._volumes = {name: e for name, e in self._volumes.items() if name in volumes}
        if self._text() != self._before:
            write_text(self._path, self._text())

    def _identity(self, volume: str) -> str | None:
        """Return a file's identity as it was when first asked for; None of one out of reach."""
        if volume not in self._identities:
            try:
                self._identities[volume] = identity(self._root / volume)
            except OSError:
                self._identities[volume] = None
        return self._identities[volume]

    def _text(self) -> str:
        content = {"version": self._version, "volumes": self._volumes}
        return json.dumps(content, ensure_ascii=False, sort_keys=True)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["version"] != self._version:
                return {}
            return {
                str(name): {str(kind): str(value) for kind, value in entry.items()}
                for name, entry in content["volumes"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}
