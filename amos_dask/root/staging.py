"""Files that appear complete: temporary names, the journal, and what makes way for them.

What is in their way goes to ``replaced/``, by the number of the run. A file is known again by its
identity, for which most are not read as a whole.
"""

from __future__ import annotations

import filecmp
import io
import json
import os
import secrets
import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

from amos_dask.archive.sources import read_gzip_identity
from amos_dask.errors import AmosDaskError
from amos_dask.file_refs import file_ref
from amos_dask.root.layout import Layout

_SUFFIX = ".part~"
_TRAILER_BYTES = 8


class Staging:
    """A set of files that get their final names only when all of them are complete.

    Within the ``with`` block, `path_for` gives the temporary name to write to; `publish` flushes
    every file to disk and renames them one after the other. What was not published when the block
    ends is removed.

    Parameters
    ----------
    journal : Journal, optional
        Is told of temporary names before the files are made, and of what is about to appear.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self.staged: dict[Path, Path] = {}  # final -> temporary name of what is not published yet
        self.published: dict[Path, str] = {}  # identities of what the journal has listed
        self._folders: set[Path] = set()
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for temporary in self.staged.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        remove_if_empty(*reversed(self._made))  # of what was given up

    def path_for(self, final: Path) -> Path:
        """Return the temporary path that will become ``final``; makes its folder."""
        return self.paths_for([final])[0]

    def paths_for(self, finals: Iterable[Path]) -> list[Path]:
        """Return the temporary paths of several files; makes their folders."""
        finals = list(finals)
        fresh = {
            final: final.with_name(temporary_name(final.name))
            for final in finals
            if final not in self.staged
        }
        for folder in {final.parent for final in fresh} - self._folders:
            self._make_folder(folder)
            self._folders.add(folder)
        if self._journal is not None and fresh:
            self._journal.add_temporaries(fresh.values())
        self.staged |= fresh
        return [self.staged[final] for final in finals]

    def _make_folder(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            try:
                path.mkdir()
            except FileExistsError:
                continue  # another sample made it
            except FileNotFoundError:  # another sample's failure removed the empty parent
                path.mkdir(parents=True, exist_ok=True)
            self._made.append(path)

    def write_text(self, final: Path, text: str) -> None:
        """Stage a text file."""
        self.path_for(final).write_text(text, encoding="utf-8")

    def drop(self, final: Path) -> None:
        """Give up a staged file."""
        self.staged.pop(final).unlink(missing_ok=True)

    def identity_of(self, final: Path) -> str:
        """Return the identity that a staged file is going to have."""
        return identity(self.staged[final], final.name)

    def publish(self, last: Path | None = None) -> None:
        """Flush all staged files to disk and give them their final names.

        Parameters
        ----------
        last : Path, optional
            The final name to appear last: the file that tells that the others are in place.
        """
        if self._journal is not None:
            identities = {final: identity(path, final.name) for final, path in self.staged.items()}
            self._journal.add_published(identities)
            self.published |= identities
        for temporary in self.staged.values():
            flush_to_disk(temporary)
        for final in sorted(self.staged, key=lambda final: final == last):
            self.staged[final].replace(final)
            del self.staged[final]
        for folder in self._folders:
            flush_to_disk(folder)
        self._folders.clear()


def write_text(final: Path, text: str) -> None:
    """Write one text file that appears complete."""
    with Staging() as staging:
        staging.write_text(final, text)
        staging.publish()


def temporary_name(name: str) -> str:
    """Return the name of a new temporary file that is to get another name."""
    return f".{name}.{secrets.token_hex(4)}{_SUFFIX}"


def is_leftover(name: str) -> bool:
    """Return whether a file's name is that of a temporary file, which only a killed run leaves."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def remove_if_empty(*folders: Path) -> None:
    """Remove folders, in this order, as far as they are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def gzip_trailer(path: Path) -> str:
    """Return the last eight bytes of a gzip file, its content's checksum and length, as hex."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _TRAILER_BYTES))
        return file.read().hex()


def identity(path: Path, name: str = "") -> str:
    """Return size and checksum of a file; of most gzip files without reading their content.

    A file under a temporary name is given the name that it is going to have.
    """
    is_gzip = (name or path.name).endswith(".gz")
    checksum = gzip_trailer(path) if is_gzip else f"{zlib.crc32(path.read_bytes()):08x}"
    n_bytes = path.stat().st_size
    if is_gzip and int.from_bytes(bytes.fromhex(checksum)[4:], "little") < n_bytes:
        # Packing makes hardly anything longer: this may be the end of the last of several members.
        return read_gzip_identity(file_ref(path, path.name))
    return f"{n_bytes}-{checksum}"


# Names of what is kept between runs, and of workbooks that workers write, end so; their temporary
# files are in no journal.
_OF_STATE = (".json", ".jsonl", ".npz", ".log", ".run", ".xlsx")
Identities = Mapping[str, frozenset[str]]


class Journal:
    """Lists files before they appear: temporary names, then final names and identities.

    It is removed once what it lists is told elsewhere: in a sample's receipt, or among the files
    of ROOT_DIR. Lines of several killed runs add up. It is named after a sample, or what writes.
    """

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._starts: dict[Path, str] = {}  # folder -> what paths in it begin with as listed
        self.path = layout.journals / f"{name}.jsonl"

    def add_temporaries(self, paths: Iterable[Path]) -> None:
        """List temporary files, before they are made."""
        self._append({"temporary": self._key(path)} for path in paths)

    def add_published(self, identities: Mapping[Path, str]) -> None:
        """List the files that are about to get their final names; wait until that is on disk."""
        told = identities.items()
        self._append({"file": self._key(path), "identity": known} for path, known in told)
        if identities:
            flush_to_disk(self.path)

    def _key(self, path: Path) -> str:
        if path.parent not in self._starts:
            self._starts[path.parent] = self._layout.key(path).removesuffix(path.name)
        return self._starts[path.parent] + path.name

    def files(self) -> Identities:
        """Return path relative to ROOT_DIR -> identities of what was to appear there."""
        found = defaultdict(set)
        for entry in self._read():
            if "file" in entry:
                found[entry["file"]].add(entry["identity"])
        return {path: frozenset(known) for path, known in found.items()}

    def temporaries(self) -> Iterator[Path]:
        """Yield the temporary files that were to be made."""
        paths = (self._layout.root / entry.get("temporary", "") for entry in self._read())
        return (path for path in paths if is_leftover(path.name))

    def remove_temporaries(self, *, forget: bool = True) -> None:
        """Remove the temporary files that a killed run has left; forget those that are gone."""
        for path in self.temporaries():
            path.unlink(missing_ok=True)
            remove_if_empty(path.parent)
        if forget and not self.files():
            self.remove()

    def add_files(self, files: Identities) -> None:
        """List files that are in place."""
        known = self.files()
        self._append(
            {"file": path, "identity": one}
            for path, identities in files.items()
            for one in sorted(identities - known.get(path, frozenset()))
        )

    def remove(self) -> None:
        """Remove the journal: what it lists is told elsewhere.

        Its folder stays until the work ends: others may be about to write there.
        """
        self.path.unlink(missing_ok=True)

    def _append(self, entries: Any) -> None:
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _read(self) -> Iterator[dict[str, str]]:
        """Yield what the lines say; one that a kill has cut off says nothing."""
        lines = list[str]()
        with suppress(FileNotFoundError):
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        for line in lines:
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry


def journal_of(layout: Layout, sample_id: str, folder: Path | None) -> Journal:
    """Return a sample's journal, or that of one of its folders where a step works on just that."""
    if folder is None:
        return Journal(layout, sample_id)
    return Journal(layout, f"{sample_id}+{zlib.crc32(layout.key(folder).encode()):08x}")


def find_journals(layout: Layout, sample_id: str = "*") -> list[Journal]:
    """Return the journals that killed runs have left, of all or of one sample."""
    names = (f"{sample_id}.jsonl", f"{sample_id}+*.jsonl")  # no id has a +
    paths = {path for name in names for path in layout.journals.glob(name)}
    return [Journal(layout, path.stem) for path in sorted(paths)]


def remove_temporaries(layout: Layout, *, forget: bool = True) -> None:
    """Remove the temporary files that killed runs have left under ROOT_DIR, and forget them.

    They are not forgotten after a failure, as they may only be out of reach.
    """
    for journal in find_journals(layout):
        journal.remove_temporaries(forget=forget)
    for folder, _, names in os.walk(layout.state):
        for path in (Path(folder, name) for name in filter(is_leftover, names)):
            if Path(path.stem).stem.endswith(_OF_STATE):
                path.unlink(missing_ok=True)


def require_room(folder: Path, n_bytes: int, what: str = "to be written") -> None:
    """Raise `AmosDaskError` unless so many bytes can be written below a folder, made or not."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    n_free = shutil.disk_usage(existing).free
    if n_bytes > n_free:
        raise AmosDaskError(
            f"{folder}: {n_bytes / 1e9:.2f} GB are {what} and {n_free / 1e9:.2f} GB of disk are "
            "free; make room or choose another folder."
        )


def run_number(layout: Layout) -> int:
    """Return the number of the run: one more than the last that replaced something.

    It is remembered until the run ends in order, so that after a kill the next run goes on under
    the same number. Who gives work to others asks first, so that all find the same.
    """
    with suppress(OSError, ValueError):
        return int(layout.run_number.read_text(encoding="utf-8"))
    number = 1 + max((int(path.name) for path in _folders(layout)), default=0)
    write_text(layout.run_number, str(number))
    return number


def end_run(layout: Layout) -> None:
    """Forget the number of a run that has ended in order."""
    layout.run_number.unlink(missing_ok=True)


def set_aside(layout: Layout, path: Path, *, leave: bool = False) -> None:
    """Put a file into ``replaced/{number of the run}/`` under its own path.

    Nothing is overwritten there: a second file of one name in one run gets a number; the same
    content, which a killed run has put there, is there once.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    path : Path
        The file; of a folder, all that is in it goes.
    leave : bool
        The file stays too, until a rename takes its place: so it is never missing.
    """
    place = place_in_replaced(layout, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    free = _next_free(place) if os.path.lexists(place) else place
    if path.is_dir() and not path.is_symlink():
        shutil.move(path, free)
        return
    if free == place or not _is_same(path, place):
        _link_or_copy(path, free)
    if not leave:
        path.unlink()


def _is_same(path: Path, place: Path) -> bool:
    if path.is_symlink() or not (path.is_file() and place.is_file()):
        return False
    filecmp.clear_cache()  # which knows files by their sizes and times
    return filecmp.cmp(path, place, shallow=False)


def _link_or_copy(path: Path, place: Path) -> None:
    try:
        os.link(path, place, follow_symlinks=False)
    except OSError:  # another file system, or one without hard links
        half = place.with_name(f".{place.name}.part~")
        shutil.copy2(path, half, follow_symlinks=False)
        flush_to_disk(half)
        half.rename(place)


def find_set_aside(layout: Layout, paths: Iterable[Path]) -> list[Path]:
    """Return those of the paths under ROOT_DIR of which this run has set a file aside."""
    if not layout.replaced.is_dir():
        return []
    return [path for path in paths if os.path.lexists(place_in_replaced(layout, path))]


def replaced_bytes(layout: Layout) -> int:
    """Return the size of everything that was ever set aside."""
    files = (path for folder in _folders(layout) for path in folder.rglob("*"))
    return sum(path.lstat().st_size for path in files if not path.is_dir())


def _folders(layout: Layout) -> list[Path]:
    return [path for path in layout.replaced.glob("*") if path.name.isdecimal()]


def place_in_replaced(layout: Layout, path: Path) -> Path:
    """Return where a file goes in this run; what lies outside ROOT_DIR goes below ``elsewhere``."""
    key = layout.key(path)
    below = key if path.is_relative_to(layout.root) else f"elsewhere/{key.lstrip('/')}"
    return layout.replaced / str(run_number(layout)) / below


def _next_free(place: Path) -> Path:
    stem, dot, rest = place.name.partition(".")
    names = (place.with_name(f"{stem} ({number}){dot}{rest}") for number in count(2))
    return next(name for name in names if not os.path.lexists(name))
