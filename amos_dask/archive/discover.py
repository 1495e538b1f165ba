"""From the names of an archive's files to Samples."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from amos_dask.archive import metadata as meta
from amos_dask.archive.definitions import AMOS22, DatasetDefinition
from amos_dask.archive.http import shown
from amos_dask.archive.sources import file_ref, is_url, list_beside, list_files, read_bytes
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.records import SUBSETS, UNDEFINED, FileRef, Kind, Metadata, Sample

_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_JUNK_SUFFIXES = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".filepart")
_EXPECTED_NAMES = ("readme.md", "readme.txt", "readme", "license", "license.txt")
_JSON_KEYS = {"training": "train", "validation": "val", "test": "test"}
_LARGEST_JSON = 8 << 20


@dataclass(frozen=True)
class Discovery:
    """What was found in an archive.

    Parameters
    ----------
    location : str
        Path or URL of the archive.
    samples : tuple of Sample
        By number; a sample has at least one of volume and mask.
    issues : tuple of Issue
        Oddities of names, subsets and metadata.
    """

    location: str
    samples: tuple[Sample, ...]
    issues: tuple[Issue, ...]


@dataclass
class _Scan:
    """The files found for one number."""

    number: int
    files: dict[Kind, FileRef] = field(default_factory=dict)
    folder_subset: str = ""

    @property
    def sample_id(self) -> str:
        return f"amos_{self.number:04d}"


def discover(
    location: str,
    labeled_data_meta: str | None = None,
    mr_metadata_offset: str = "auto",
    definition: DatasetDefinition = AMOS22,
) -> Discovery:
    """Find the samples of an archive and their metadata.

    Parameters
    ----------
    location : str
        A folder, ``amos22.zip``, or a URL of either.
    labeled_data_meta : str, optional
        The metadata csv; by default ``labeled_data_meta*.csv`` inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    definition : DatasetDefinition
        The dataset.

    Raises
    ------
    ArchiveError
        When the archive or the csv cannot be used as a whole, or holds no scans.
    """
    names = _sort_names(list_files(location), definition)
    if not names.scans:
        raise ArchiveError(
            f"{shown(location)}: no scans found; expected files such as imagesTr/amos_0001.nii.gz."
        )
    issues = list(names.issues)
    subsets = _find_subsets(names, issues)
    table = _find_table(names, location, labeled_data_meta, mr_metadata_offset, definition, issues)
    samples = tuple(
        _make_sample(scan, subsets[scan.number], table, definition, issues)
        for scan in sorted(names.scans.values(), key=lambda scan: scan.number)
    )
    issues.extend(_check_counts(samples, definition))
    return Discovery(location, samples, tuple(issues))


@dataclass
class _Names:
    """The archive's files by what their names say."""

    scans: dict[int, _Scan] = field(default_factory=dict)
    dataset_json: FileRef | None = None
    metadata_csv: FileRef | None = None
    issues: list[Issue] = field(default_factory=list)


def _sort_names(files: Iterable[FileRef], definition: DatasetDefinition) -> _Names:
    names = _Names()
    junk: Counter[str] = Counter()
    for ref in sorted(files, key=_precedence):
        path = PurePosixPath(ref.path)
        if what := _junk(path):
            junk[what] += 1
        elif path.is_absolute() or ".." in path.parts:  # only zips can hold such names
            names.issues.append(_unexpected(ref, "its name leads outside the archive"))
        elif not _take_scan(names, ref, path, definition):
            _take_other(names, ref, path)
    if junk:
        found = ", ".join(f"{count} {what}" for what, count in sorted(junk.items()))
        names.issues.append(
            make_issue("junk_ignored", f"{junk.total()} files: {found}", action="ignored")
        )
    return names


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


def _take_scan(
    names: _Names, ref: FileRef, path: PurePosixPath, definition: DatasetDefinition
) -> bool:
    match = definition.file_name.fullmatch(path.name)
    where = definition.folders.get(path.parent.name)
    if match is None or where is None:
        return False
    kind, subset = where
    scan = names.scans.setdefault(int(match[1]), _Scan(int(match[1])))
    taken = scan.files.setdefault(kind, ref)
    if taken is not ref:
        names.issues.append(
            make_issue(
                "duplicate_file",
                f"a second {kind} beside {taken.path}",
                sample=scan.sample_id,
                file=ref.path,
                action=f"{taken.path} used",
            )
        )
    elif kind == "volume" or not scan.folder_subset:
        scan.folder_subset = subset  # the volume's folder decides
    return True


def _take_other(names: _Names, ref: FileRef, path: PurePosixPath) -> None:
    if path.name == "dataset.json" and names.dataset_json is None:
        names.dataset_json = ref
    elif meta.FILE_NAME.fullmatch(path.name) and _is_better_csv(ref, names.metadata_csv):
        names.metadata_csv = ref
    elif path.name.lower() not in _EXPECTED_NAMES:
        names.issues.append(_unexpected(ref, "not a file of AMOS22"))


def _unexpected(ref: FileRef, message: str) -> Issue:
    return make_issue("unexpected_file", message, file=ref.path, action="ignored")


def _is_better_csv(ref: FileRef, chosen: FileRef | None) -> bool:
    """Return whether a csv is to be taken: the first, or the first with the official name."""
    if chosen is None:
        return True
    names = PurePosixPath(ref.path).name, PurePosixPath(chosen.path).name
    return names[0] == meta.OFFICIAL_NAME != names[1]


def _find_subsets(names: _Names, issues: list[Issue]) -> dict[int, str]:
    subsets = {number: scan.folder_subset for number, scan in names.scans.items()}
    if names.dataset_json is None:
        return subsets
    try:
        listed = _read_dataset_json(names.dataset_json)
    except (UnreadableImageError, InaccessibleFileError, ValueError, RecursionError) as error:
        issues.append(
            make_issue(
                "bad_dataset_json",
                f"not usable: {error}",
                file=names.dataset_json.path,
                action="subsets taken from the folders",
            )
        )
        return subsets
    for number, scan in sorted(names.scans.items()):
        issues.extend(_check_subset(scan, listed.get(number), names.dataset_json.path))
        subsets[number] = listed.get(number, scan.folder_subset)
    issues.extend(
        make_issue(
            "listed_but_absent",
            f"listed as {listed[number]}, but there is no file of it",
            sample=f"amos_{number:04d}",
            file=names.dataset_json.path,
        )
        for number in sorted(set(listed) - set(subsets))
    )
    return subsets


def _check_subset(scan: _Scan, listed: str | None, path: str) -> Iterator[Issue]:
    if listed is None:
        yield make_issue(
            "not_in_dataset_json",
            "not listed",
            sample=scan.sample_id,
            file=path,
            action=f"{scan.folder_subset} taken from the folder",
        )
    elif listed != scan.folder_subset:
        yield make_issue(
            "subset_mismatch",
            f"listed as {listed}, but its folder says {scan.folder_subset}",
            sample=scan.sample_id,
            file=path,
            action=f"{listed} used",
        )


def _read_dataset_json(ref: FileRef) -> dict[int, str]:
    content = json.loads(read_bytes(ref, _LARGEST_JSON))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    listed: dict[int, str] = {}
    for key, subset in _JSON_KEYS.items():
        entries = content.get(key) or []
        if not isinstance(entries, list):
            raise ValueError(f"{key} is not a list")
        for entry in entries:
            name = entry.get("image") if isinstance(entry, dict) else entry
            match = AMOS22.file_name.fullmatch(PurePosixPath(str(name)).name)
            if match is None:
                raise ValueError(f"{key} lists {reprlib.repr(name)}")
            number = int(match[1])
            if listed.setdefault(number, subset) != subset:
                raise ValueError(f"{match[0]} is listed as {listed[number]} and as {subset}")
    return listed


def _find_table(
    names: _Names,
    location: str,
    labeled_data_meta: str | None,
    mr_metadata_offset: str,
    definition: DatasetDefinition,
    issues: list[Issue],
) -> meta.MetadataTable:
    ref = _find_csv(names, location, labeled_data_meta)
    if ref is None:
        issues.append(
            make_issue(
                "metadata_missing",
                "no labeled_data_meta*.csv inside or beside the archive",
                action="all metadata UND; name the csv with --labeled_data_meta",
            )
        )
        return meta.MetadataTable({})
    rows, found = meta.read_rows(ref)
    issues.extend(found)
    mr_scans = [n for n in names.scans if definition.id_modality(n) == "mri"]
    labelled = [n for n in mr_scans if "mask" in names.scans[n].files]
    offset, found = meta.decide_mr_offset(
        mr_metadata_offset, rows, mr_scans, labelled, definition, ref.path
    )
    issues.extend(found)
    return meta.MetadataTable(rows, offset, ref.path)


def _find_csv(names: _Names, location: str, labeled_data_meta: str | None) -> FileRef | None:
    if labeled_data_meta is not None:
        if is_url(labeled_data_meta):
            return FileRef(shown(labeled_data_meta).rpartition("/")[2], labeled_data_meta, 0)
        if not Path(labeled_data_meta).is_file():
            raise ArchiveError(f"{labeled_data_meta}: there is no such metadata csv.")
        return file_ref(Path(labeled_data_meta), Path(labeled_data_meta).name)
    if names.metadata_csv is not None:
        return names.metadata_csv
    beside = [ref for ref in list_beside(location) if meta.FILE_NAME.fullmatch(ref.path)]
    return min(beside, key=lambda ref: ref.path != meta.OFFICIAL_NAME, default=None)


def _make_sample(
    scan: _Scan,
    subset: str,
    table: meta.MetadataTable,
    definition: DatasetDefinition,
    issues: list[Issue],
) -> Sample:
    metadata = Metadata()
    if table.path:
        metadata, found = meta.find_row(table, scan.number, definition, scan.sample_id)
        issues.extend(found)
    sample = make_sample(
        scan.number,
        subset,
        metadata,
        scan.files.get("volume"),
        scan.files.get("mask"),
        definition,
    )
    issues.extend(_check_scanner(sample, table.path, definition))
    issues.extend(check_files(sample))
    return sample


def make_sample(
    number: int,
    subset: str,
    metadata: Metadata,
    volume: FileRef | None,
    mask: FileRef | None,
    definition: DatasetDefinition = AMOS22,
) -> Sample:
    """Make a Sample, applying the dataset's modality and scanner rules."""
    scanner = metadata.manufacturer_model_name
    return Sample(
        seq=f"{number:04d}",
        subset=subset,
        modality=definition.modality(number, scanner),
        scanner=scanner if scanner in definition.scanners else UNDEFINED,
        metadata=metadata,
        volume=volume,
        mask=mask,
    )


def _check_scanner(sample: Sample, path: str, definition: DatasetDefinition) -> Iterator[Issue]:
    name = sample.metadata.manufacturer_model_name
    if sample.scanner == UNDEFINED:
        yield make_issue(
            "unknown_scanner",
            f"scanner {name!r} is not among {definition.name}'s",
            sample=sample.sample_id,
            file=path,
            action="folder UND; the name stays in the columns",
        )
    elif definition.scanners[name] != sample.modality:
        yield make_issue(
            "modality_mismatch",
            f"its number says {sample.modality}, its scanner {name!r} {definition.scanners[name]}",
            sample=sample.sample_id,
            file=path,
            action=f"{sample.modality} used",
        )


def check_files(sample: Sample) -> Iterator[Issue]:
    """Yield an issue when a sample lacks its volume, or its mask where one is expected."""
    if sample.volume is None and sample.mask is not None:
        yield make_issue(
            "mask_without_volume",
            "there is a mask but no scan",
            sample=sample.sample_id,
            file=sample.mask.path,
            action="nothing written",
        )
    elif sample.mask is None and sample.volume is not None and sample.subset != "test":
        yield make_issue(
            "missing_mask",
            f"a {sample.subset} scan without a mask",
            sample=sample.sample_id,
            file=sample.volume.path,
            action="only the volume is written",
        )


def _check_counts(samples: Iterable[Sample], definition: DatasetDefinition) -> Iterator[Issue]:
    found = Counter((s.subset, s.modality) for s in samples if s.volume is not None)
    if found != Counter(definition.official_counts):
        ours = _describe_counts(found)
        official = _describe_counts(Counter(definition.official_counts))
        yield make_issue("subset_counts", f"found {ours}; official {official}")


def _describe_counts(counts: Counter[tuple[str, str]]) -> str:
    modalities = ("ct", "mri", *(("und",) if any(m == "und" for _, m in counts) else ()))
    return ", ".join(
        f"{subset} " + "+".join(str(counts[subset, modality]) for modality in modalities)
        for subset in SUBSETS
    )
