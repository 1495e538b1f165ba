"""Files of an export: which are ours and as we wrote them; copies, clones and links."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amos_dask.errors import AmosDaskError
from amos_dask.issues import Issue, make_issue
from amos_dask.root.export_mark import OwnFile, identity_of, link_identity, path_from
from amos_dask.root.identity import identity
from amos_dask.root.layout import Layout
from amos_dask.root.ownership import Way, set_aside
from amos_dask.root.staging import Identities, Journal, Staging

LINKS = ("copy", "symbolic")
OWN_KEY = "amos_dask"  # in JSON files of others' forms
_FICLONE = 0x40049409  # of linux/fs.h: the file shares another's blocks until either is written


@dataclass(frozen=True)
class ExportFolder:
    """What of an export is ours.

    Parameters
    ----------
    base : Path
        The folder with the export's mark, to which paths are relative.
    own : mapping of str to OwnFile
        Its files, as the mark tells.
    begun : mapping of str to frozenset of str
        Those that a killed export has written since.
    adopt : bool
        A file in the way that is not as we wrote it goes to ``replaced/`` in the folder.
    link : {"copy", "symbolic"}
        How files get there.
    """

    base: Path
    own: Mapping[str, OwnFile] = field(default_factory=dict)
    begun: Identities = field(default_factory=dict)
    adopt: bool = False
    link: str = "copy"

    def key(self, path: Path) -> str:
        """Return a file's path as the mark tells it."""
        return path_from(self.base, path)

    def is_as_written(self, path: Path) -> bool:
        """Return whether a file is what we wrote, as far as its identity tells."""
        key, now = self.key(path), identity_of(path)
        return bool(now) and now in {self.own_identity(key), *self.begun.get(key, ())}

    def own_identity(self, key: str) -> str:
        """Return the identity of a file as the mark tells it; empty where it tells none."""
        return self.own[key].identity if key in self.own else ""

    def is_in_place(self, path: Path, wanted: str) -> bool:
        """Return whether a file is what is wanted already, under no other name as well.

        Exports of version 0.1.0 were hard links to the files of ROOT_DIR.
        """
        is_alone = os.path.lexists(path) and path.lstat().st_nlink == 1
        return is_alone and identity_of(path) == wanted

    def find_way(self, path: Path, own: OwnFile, target: Path | None) -> Way | None:
        """Return what becomes of what is at a path when a file of ours is to be there.

        None when it is not as we wrote it, and stays. What ROOT_DIR has itself, and a link to the
        target there, is as good as ours.
        """
        if self._is_behind_a_link(path):
            return None
        if not os.path.lexists(path):
            return Way.FREE
        if self.is_in_place(path, own.identity):
            return Way.TAKEN
        now = identity_of(path)
        of_root = {own.source_identity, "" if target is None else link_identity(target)}
        if now in {own.identity, *of_root} - {""} or self.is_as_written(path):
            return Way.FREE
        return Way.ASIDE if self.adopt or self._is_list_of_0_1_0(path) else None

    def remove(self, path: Path) -> bool:
        """Remove a file that is no longer part of the export; return whether it stays.

        One that was altered stays, or goes to ``replaced/``.
        """
        if not os.path.lexists(path):
            return False
        if self._is_behind_a_link(path):
            return True
        if self.is_as_written(path):
            path.unlink()
        elif self.adopt:
            set_aside(Layout(self.base), path)
        else:
            return True
        return False

    def of_files(self, paths: Collection[Path]) -> ExportFolder:
        """Return the same of some files only: what their task takes along."""
        keys = {self.key(path) for path in paths}
        own = {key: self.own[key] for key in keys & self.own.keys()}
        return replace(self, own=own, begun={k: self.begun[k] for k in keys & self.begun.keys()})

    def _is_list_of_0_1_0(self, path: Path) -> bool:
        """Return whether version 0.1.0, whose marks tell no files, wrote a JSON file."""
        return not self.own and path.suffix == ".json" and carries_own_key(path)

    def _is_behind_a_link(self, path: Path) -> bool:
        """Return whether a folder between the export's and a file is a link."""
        above = path.relative_to(self.base).parents if path.is_relative_to(self.base) else ()
        return any((self.base / folder).is_symlink() for folder in above if folder.name)


class Placing:
    """Files that are put in their places together.

    Parameters
    ----------
    folder : ExportFolder
        The export.
    staging : Staging
        Publishes them.
    sample : str
        Whose they are.
    """

    def __init__(self, folder: ExportFolder, staging: Staging, sample: str = "") -> None:
        self._folder = folder
        self._staging = staging
        self._sample = sample
        self._aside: list[Path] = []
        self.files: dict[str, OwnFile] = {}
        self.issues: list[Issue] = []
        self.n_bytes: list[int] = []  # of each file that is written

    def place(self, source: Path, final: Path) -> None:
        """Place a file as it is: a copy that shares its blocks where that can be, or a link."""
        told, target = identity(source, final.name), Path(os.path.realpath(source))
        is_link = self._folder.link == "symbolic"
        own = OwnFile(link_identity(target) if is_link else told, self._folder.key(source), told)
        if not self._is_to_be_written(final, own, target):
            return
        temporary = self._staging.path_for(final)
        if is_link:
            temporary.symlink_to(target)
            self.n_bytes.append(0)
            return
        copy_file(source, temporary)
        if identity(temporary, final.name) != told:
            raise OSError(errno.EIO, "was changed while it was copied", str(source))
        self.n_bytes.append(temporary.stat().st_size)

    def write(
        self, final: Path, write: Callable[[Path], object], source: Path | None = None
    ) -> None:
        """Place a file that a function writes; one that is there already is left alone.

        Parameters
        ----------
        final : Path
            The file.
        write : callable
            Is given its temporary name.
        source : Path, optional
            The file of ROOT_DIR that it is made from.
        """
        temporary = self._staging.path_for(final)
        write(temporary)
        own = OwnFile(identity(temporary, final.name))
        if source is not None:
            told = identity(source, final.name)
            own = replace(own, source=self._folder.key(source), source_identity=told)
        if self._is_to_be_written(final, own):
            self.n_bytes.append(temporary.stat().st_size)
        else:
            self._staging.drop(final)

    def publish(self, last: Path | None = None) -> None:
        """Give the files their names; what has to make way goes to ``replaced/`` first."""
        for path in self._aside:
            set_aside(Layout(self._folder.base), path)
        self._staging.publish(last=last)

    def _is_to_be_written(self, final: Path, own: OwnFile, target: Path | None = None) -> bool:
        key = self._folder.key(final)
        earlier = self._folder.own.get(key)
        way = self._folder.find_way(final, own, target)
        if way is None:
            if earlier is not None:
                self.files[key] = earlier
            self.issues.append(self._in_the_way(key, is_current=earlier == own))
            return False
        if way is Way.ASIDE:
            self._aside.append(final)
        known = own if earlier is None or earlier.is_link else earlier
        if way is not Way.TAKEN and known.source_identity != own.source_identity:
            self.issues.append(
                make_issue(
                    "outdated_export",
                    f"was made from another {Path(own.source).name} than there is now",
                    sample=self._sample,
                    file=key,
                    action="brought up to date",
                    severity="info",
                )
            )
        self.files[key] = own
        return way is not Way.TAKEN

    def _in_the_way(self, key: str, *, is_current: bool) -> Issue:
        """Return the issue of a file that is not as we wrote it; what we would write may be new."""
        message = "is not what this export wrote, or is reached through a link"
        if not is_current:
            message += ", and what it would write now is something else"
        return make_issue(
            "foreign_file",
            message,
            sample=self._sample,
            file=key,
            action="left as it is; --adopt moves it to replaced/ in the export",
            severity="warning" if is_current else "error",
        )


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content; where the file system can, both share their blocks."""
    with source.open("rb") as reading, target.open("wb") as writing:
        if not _clone(reading.fileno(), writing.fileno()):
            shutil.copyfileobj(reading, writing, 1 << 20)


def can_clone(source: Path, folder: Path) -> bool:
    """Return whether a copy of a file in an export takes no room; tried with a temporary file."""
    journal = Journal(Layout(folder), "clone")
    with Staging(journal) as staging, source.open("rb") as reading:
        temporary = staging.path_for(folder / "clone")
        with temporary.open("wb") as writing:
            return _clone(reading.fileno(), writing.fileno())


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False  # another file system, or one that cannot
    return True


def require_link(link: str) -> None:
    """Raise `AmosDaskError` when a way to place files is not known."""
    if link not in LINKS:
        raise AmosDaskError(f"link {link!r} is not known; choose from {LINKS}.")


def carries_own_key(file: Path) -> bool:
    """Return whether a JSON file says that an export of ours wrote it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and OWN_KEY in content


def to_json(content: Any) -> str:
    """Return JSON for people and programs."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
