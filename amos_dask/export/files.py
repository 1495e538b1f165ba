"""Files of an export: which are ours and as we wrote them; copies, clones and links."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amos_dask.errors import AmosDaskError, ForeignFileError
from amos_dask.root.export_mark import ExportedFile, identity_of, path_from
from amos_dask.root.identity import identity, link_identity
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import Ownership
from amos_dask.root.staging import Identities, Journal, Staging

LINKS = ("copy", "symbolic")
OWN_KEY = "amos_dask"  # in JSON files of others' forms
_FICLONE = 0x40049409  # of linux/fs.h: the file shares another's blocks until either is written


class ExportLayout(Layout):
    """The folder of an export: no link in all of it is followed."""

    def folders_above(self, path: Path) -> list[Path]:
        """Return the folders between the export's own and what lies in it, upwards."""
        return [folder for folder in path.parents if self.root in folder.parents]


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """What of an export is ours: what it wrote earlier, and nobody changed.

    Parameters
    ----------
    base : Path
        The folder with the export's mark, to which paths are relative.
    known : mapping of str to frozenset of str
        Path -> identities under which we wrote it, from the mark and from journals of killed
        exports.
    adopt : bool
        What is in the way and not ours goes to ``replaced/`` in the folder.
    link : {"copy", "symbolic"}
        How files get there.
    """

    base: Path
    known: Identities
    adopt: bool = False
    link: str = "copy"

    def key(self, path: Path) -> str:
        """Return a file's path as the mark tells it."""
        return path_from(self.base, path)

    def ownership(self, path: Path, *of_root: str) -> Ownership:
        """Return what is ours of the place of a file: what somebody changed is theirs.

        Parameters
        ----------
        path : Path
            The file.
        *of_root : str
            Identities of what ROOT_DIR has itself, which is as good as ours.
        """
        layout = ExportLayout(self.base)
        known = self.known.get(self.key(path), frozenset()) | frozenset(of_root)
        listed = {layout.key(path): known} if self.adopt or identity_of(path) in known else {}
        return Ownership(layout, listed, adopt=self.adopt)

    def of_files(self, paths: Collection[Path]) -> ExportFolder:
        """Return the same of some files only: what their task takes along."""
        keys = self.known.keys() & {self.key(path) for path in paths}
        return replace(self, known={key: self.known[key] for key in keys})


def is_in_place(path: Path, wanted: str) -> bool:
    """Return whether a file is what is wanted already, under no other name as well.

    Exports of version 0.1.0 were hard links to the files of ROOT_DIR.
    """
    is_alone = os.path.lexists(path) and path.lstat().st_nlink == 1
    return is_alone and identity_of(path) == wanted


@dataclass
class Placing:
    """Files that are put in their places, where those are free or ours.

    Parameters
    ----------
    folder : ExportFolder
        The export.
    name : str
        Of a sample, or what else they are of.
    files : dict of str to ExportedFile
        What the mark is to tell of them.
    in_the_way : list of str
        Those of which the place is somebody's, who keeps it.
    n_bytes : list of int
        Of each file that was written.
    """

    folder: ExportFolder
    name: str
    files: dict[str, ExportedFile] = field(default_factory=dict)
    in_the_way: list[str] = field(default_factory=list)
    n_bytes: list[int] = field(default_factory=list)

    def place(self, source: Path, final: Path) -> None:
        """Place a file of ROOT_DIR as it is: a copy that shares its blocks if it can, or a link."""
        told, target = identity(source, final.name), Path(os.path.realpath(source))

        def copy(temporary: Path) -> None:
            copy_file(source, temporary)
            if identity(temporary, final.name) != told:
                raise OSError(errno.EIO, "was changed while it was copied", str(source))

        if self.folder.link == "symbolic":
            self.write(final, lambda path: path.symlink_to(target), source, link_identity(target))
        else:
            self.write(final, copy, source, told)

    def write(
        self,
        final: Path,
        write: Callable[[Path], object],
        source: Path | None = None,
        wanted: str = "",
    ) -> None:
        """Place a file that a function writes, unless it is there already.

        Parameters
        ----------
        final : Path
            The file.
        write : callable
            Is given its temporary name.
        source : Path, optional
            The file of ROOT_DIR that it is made from.
        wanted : str
            Its identity, where that is known before.
        """
        file, key = ExportedFile(wanted), self.folder.key(final)
        of_root: tuple[str, ...] = ()
        if source is not None:
            file = ExportedFile(wanted, self.folder.key(source), identity(source, final.name))
            of_root = (file.source_identity, link_identity(Path(os.path.realpath(source))))
        ours = self.folder.ownership(final, *of_root)
        with Staging(Journal(ours.layout, self.name)) as staging:
            try:
                ours.make_way_to(final, adopt=self.folder.adopt)
                if not is_in_place(final, wanted):
                    temporary = staging.path_for(final)
                    write(temporary)
                    n_bytes = 0 if temporary.is_symlink() else temporary.stat().st_size
                    file = replace(file, identity=wanted or identity(temporary, final.name))
                    if not is_in_place(final, file.identity):
                        ours.publish(staging, lambda *_: False)
                        self.n_bytes.append(n_bytes)
            except ForeignFileError:
                self.in_the_way.append(key)
        self.files[key] = file


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
