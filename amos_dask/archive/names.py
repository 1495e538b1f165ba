"""The names of an archive's files: scans, what describes them, junk and strangers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from amos_dask.datasets import DatasetDefinition, ScanFile
from amos_dask.issues import Issue, make_issue
from amos_dask.records import FileRef, Kind

DATASET_JSON = "dataset.json"
_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_JUNK_SUFFIXES = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".filepart")
_EXPECTED_NAMES = ("readme.md", "readme.txt", "readme", "license", "license.txt")


@dataclass
class Names:
    """The archive's files by what their names say.

    Parameters
    ----------
    definition : DatasetDefinition
        The dataset.
    scans : dict of int to dict
        Number -> its volume and its mask, as far as they are there.
    subsets : dict of int to str
        Number -> its subset, as folder or number tell it.
    dataset_json, metadata_csv : FileRef or None
        What describes them.
    issues : list of Issue
        Oddities.
    """

    definition: DatasetDefinition
    scans: dict[int, dict[Kind, FileRef]] = field(default_factory=dict)
    subsets: dict[int, str] = field(default_factory=dict)
    dataset_json: FileRef | None = None
    metadata_csv: FileRef | None = None
    issues: list[Issue] = field(default_factory=list)

    def say(
        self, code: str, message: str, *, sample: str = "", file: str = "", action: str = ""
    ) -> None:
        """Add an issue, with the catalogue's severity."""
        self.issues.append(make_issue(code, message, sample=sample, file=file, action=action))


def sort_names(files: Iterable[FileRef], definition: DatasetDefinition) -> Names:
    """Sort an archive's files by what their names say."""
    names = Names(definition)
    junk: Counter[str] = Counter()
    for ref in sorted(files, key=_precedence):
        path = PurePosixPath(ref.path)
        if what := _junk(path):
            junk[what] += 1
        elif path.is_absolute() or ".." in path.parts:  # only zips can hold such names
            _leave_out(names, ref, "its name leads outside the archive")
        elif found := definition.scan_file(path):
            _take_scan(names, ref, found)
        else:
            _take_other(names, ref, path)
    if junk:
        found_junk = ", ".join(f"{count} {what}" for what, count in sorted(junk.items()))
        names.say("junk_ignored", f"{junk.total()} files: {found_junk}", action="ignored")
    return names


def find_dataset_json(files: Iterable[FileRef]) -> Sequence[FileRef]:
    """Return the outermost files named ``dataset.json``; junk does not count."""
    paths = ((PurePosixPath(ref.path), ref) for ref in files)
    found = [ref for path, ref in paths if path.name == DATASET_JSON and not _junk(path)]
    depth = min((ref.path.count("/") for ref in found), default=0)
    return [ref for ref in found if ref.path.count("/") == depth]


def _precedence(ref: FileRef) -> tuple[bool, int, str]:
    """Return what comes first where several files stand for one thing.

    Images of the form that can be read; then shallow paths: of two dataset.json the outer one is
    the archive's.
    """
    return (not ref.path.endswith(".nii.gz"), ref.path.count("/"), ref.path)


def _junk(path: PurePosixPath) -> str | None:
    if "__MACOSX" in path.parts:
        return "in __MACOSX"
    if path.name.startswith("._"):
        return "named ._*"
    if path.name in _JUNK_NAMES:
        return path.name
    if path.name.lower().endswith(_JUNK_SUFFIXES):
        return "partial downloads"
    return None


def _take_scan(names: Names, ref: FileRef, found: ScanFile) -> None:
    taken = names.scans.setdefault(found.number, {}).setdefault(found.kind, ref)
    if taken is not ref:
        names.say(
            "duplicate_file",
            f"a second {found.kind} beside {taken.path}",
            sample=names.definition.sample_id(found.number),
            file=ref.path,
            action=f"{taken.path} used",
        )
    elif found.kind == "volume" or found.number not in names.subsets:
        names.subsets[found.number] = found.subset  # the volume's folder decides


def _take_other(names: Names, ref: FileRef, path: PurePosixPath) -> None:
    csv, listing = names.definition.metadata, names.definition.dataset_json
    if listing and path.name == DATASET_JSON and names.dataset_json is None:
        names.dataset_json = ref
    elif csv is not None and csv.is_name_of(path.name) and _is_better_csv(names, ref):
        names.metadata_csv = ref
    elif path.name.lower() not in _EXPECTED_NAMES:
        _leave_out(names, ref, f"not a file of {names.definition.name}")


def _leave_out(names: Names, ref: FileRef, why: str) -> None:
    names.say("unexpected_file", why, file=ref.path, action="ignored")


def _is_better_csv(names: Names, ref: FileRef) -> bool:
    """Return whether a csv is to be taken: the first, or the first with the official name."""
    csv, chosen = names.definition.metadata, names.metadata_csv
    if chosen is None or csv is None:
        return True
    ours, theirs = PurePosixPath(ref.path).name, PurePosixPath(chosen.path).name
    return ours == csv.official_file != theirs
