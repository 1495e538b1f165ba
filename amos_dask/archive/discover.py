"""From the names of an archive's files to Samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from amos_dask.archive.dataset_json import complete_definition, find_subsets
from amos_dask.archive.listing import file_ref, list_beside, list_files
from amos_dask.archive.locations import file_name, is_url, shown
from amos_dask.archive.metadata import MetadataTable, read_rows
from amos_dask.archive.recognise import find_annex_link
from amos_dask.datasets import AMOS22, DatasetDefinition, ScanFile
from amos_dask.errors import ArchiveError
from amos_dask.issues import Issue, make_issue
from amos_dask.records import UNDEFINED, FileRef, Kind, Metadata, Sample

_DATASET_JSON = "dataset.json"
_JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_JUNK_SUFFIXES = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".filepart")
_EXPECTED_NAMES = ("readme.md", "readme.txt", "readme", "license", "license.txt")


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
    definition : DatasetDefinition
        The dataset, with what the archive itself tells of it.
    """

    location: str
    samples: tuple[Sample, ...]
    issues: tuple[Issue, ...]
    definition: DatasetDefinition = AMOS22

    @property
    def has_metadata(self) -> bool:
        """Whether there is a metadata csv."""
        is_missing = any(issue.code == "metadata_missing" for issue in self.issues)
        return self.definition.metadata is not None and not is_missing

    @property
    def listed_but_absent(self) -> frozenset[str]:
        """Ids of the samples that ``dataset.json`` lists and that are not there."""
        return frozenset(issue.sample for issue in self.issues if issue.code == "listed_but_absent")


def discover(
    location: str,
    labeled_data_meta: str | None = None,
    mr_metadata_offset: str = "auto",
    definition: DatasetDefinition = AMOS22,
    metadata_encoding: str | None = None,
) -> Discovery:
    """Find the samples of an archive and their metadata.

    Parameters
    ----------
    location : str
        A folder, ``amos22.zip``, a tar, or a URL of any.
    labeled_data_meta : str, optional
        The metadata csv; by default ``labeled_data_meta*.csv`` inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which row of the csv MR scans take.
    definition : DatasetDefinition
        The dataset.
    metadata_encoding : str, optional
        The csv's, such as ``gb18030``; by default it is recognised.

    Raises
    ------
    ArchiveError
        When the archive or the csv cannot be used as a whole, or holds no scans.
    """
    _require_metadata(definition, labeled_data_meta, mr_metadata_offset)
    files = list_files(location)
    definition = complete_definition(definition, _find_dataset_json(files), shown(location))
    names = sort_names(files, definition)
    if not names.scans:
        raise ArchiveError(
            f"{shown(location)}: no scans found; expected files such as {definition.example}; "
            f"name another dataset than {definition.name} with --dataset."
        )
    subsets = names.subsets
    if names.dataset_json is not None:
        subsets, found = find_subsets(names.dataset_json, subsets, definition)
        names.issues += found
    ref = _find_csv(names, location, labeled_data_meta)
    table = _read_table(names, ref, mr_metadata_offset, metadata_encoding)
    samples = []
    for number in sorted(names.scans):
        metadata, found = table.find_row(number)
        sample = new_sample(number, subsets[number], metadata, names.scans[number], definition)
        names.issues += found
        names.issues += _check_scanner(sample, table.path, definition)
        names.issues += check_files(sample, definition)
        samples.append(sample)
    names.issues += _check_counts(samples, definition)
    return Discovery(location, tuple(samples), tuple(names.issues), definition)


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
    csv = definition.metadata
    for ref in sorted(files, key=partial(_precedence, "" if csv is None else csv.official_file)):
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


def _find_dataset_json(files: Iterable[FileRef]) -> Sequence[FileRef]:
    """Return the outermost files named ``dataset.json``; junk does not count."""
    paths = ((PurePosixPath(ref.path), ref) for ref in files)
    found = [ref for path, ref in paths if path.name == _DATASET_JSON and not _junk(path)]
    depth = min((ref.path.count("/") for ref in found), default=0)
    return [ref for ref in found if ref.path.count("/") == depth]


def _precedence(official_csv: str, ref: FileRef) -> tuple[bool, bool, int, str]:
    """Return what comes first where several files stand for one thing.

    Images of the form that can be read, and the official csv; then shallow paths: of two
    dataset.json the outer one is the archive's.
    """
    depth, is_official = ref.path.count("/"), ref.path.rpartition("/")[2] == official_csv
    return (not ref.path.endswith(".nii.gz"), not is_official, depth, ref.path)


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
    if listing and path.name == _DATASET_JSON and names.dataset_json is None:
        names.dataset_json = ref
    elif csv is not None and csv.is_name_of(path.name) and names.metadata_csv is None:
        names.metadata_csv = ref
    elif path.name.lower() not in _EXPECTED_NAMES:
        _leave_out(names, ref, f"not a file of {names.definition.name}")


def _leave_out(names: Names, ref: FileRef, why: str) -> None:
    names.say("unexpected_file", why, file=ref.path, action="ignored")


def _require_metadata(
    definition: DatasetDefinition, labeled_data_meta: str | None, mr_metadata_offset: str
) -> None:
    """Raise when something is said of a metadata csv that the dataset has not."""
    csv = definition.metadata
    if csv is None and labeled_data_meta is not None:
        raise ArchiveError(f"{definition.name} has no metadata csv; leave --labeled_data_meta out.")
    is_shifted = mr_metadata_offset not in ("auto", "0")
    if is_shifted and (csv is None or not csv.mr_rows_may_be_shifted):
        raise ArchiveError(
            f"--mr_metadata_offset {mr_metadata_offset} is for AMOS22; {definition.name} has no "
            "metadata with shifted rows."
        )


def _read_table(
    names: Names, ref: FileRef | None, mr_metadata_offset: str, encoding: str | None
) -> MetadataTable:
    """Read the metadata; a table without rows where there is none."""
    definition = names.definition
    csv = definition.metadata
    if csv is None or ref is None:
        return MetadataTable({}, definition=definition)
    rows, found = read_rows(ref, definition, encoding)
    names.issues += found
    table = MetadataTable(rows, path=ref.path, definition=definition)
    if csv.mr_rows_may_be_shifted:
        mr_scans = {
            number: "mask" in files
            for number, files in names.scans.items()
            if definition.id_modality(number) == "mri"
        }
        table, found = table.with_mr_offset(mr_metadata_offset, mr_scans)
        names.issues += found
    return table


def _find_csv(names: Names, location: str, labeled_data_meta: str | None) -> FileRef | None:
    """Return the metadata csv, and say where there is none though there should be."""
    csv = names.definition.metadata
    if csv is None:
        return None
    if labeled_data_meta is not None:
        if is_url(labeled_data_meta):
            return FileRef(file_name(labeled_data_meta), labeled_data_meta, 0)
        if not Path(labeled_data_meta).is_file():
            absent = find_annex_link(labeled_data_meta) or "there is no such metadata csv"
            raise ArchiveError(f"{labeled_data_meta}: {absent}.")
        return file_ref(Path(labeled_data_meta), Path(labeled_data_meta).name)
    if names.metadata_csv is not None:
        return names.metadata_csv
    beside = [ref for ref in list_beside(location) if csv.is_name_of(ref.path)]
    if not beside:
        names.say(
            "metadata_missing",
            f"no {csv.files} inside or beside the archive",
            action="all metadata UND; name the csv with --labeled_data_meta",
        )
    return min(beside, key=lambda ref: ref.path != csv.official_file, default=None)


def new_sample(
    number: int,
    subset: str,
    metadata: Metadata,
    files: Mapping[Kind, FileRef | None],
    definition: DatasetDefinition = AMOS22,
) -> Sample:
    """Return a Sample, applying the dataset's modality and scanner rules.

    Parameters
    ----------
    number : int
        The scan's.
    subset : {"train", "val", "test"}
        Official subset.
    metadata : Metadata
        The scan's row of the csv.
    files : mapping of {"volume", "mask"} to FileRef
        The scan's, as far as there are.
    definition : DatasetDefinition
        The dataset.
    """
    scanner = metadata.manufacturer_model_name
    return Sample(
        seq=f"{number:04d}",
        prefix=definition.prefix,
        subset=subset,
        modality=definition.modality(number, scanner),
        scanner=scanner if definition.scanner_modality(scanner) else UNDEFINED,
        metadata=metadata,
        volume=files.get("volume"),
        mask=files.get("mask"),
    )


def _check_scanner(sample: Sample, path: str, definition: DatasetDefinition) -> Iterator[Issue]:
    name = sample.metadata.manufacturer_model_name
    told = definition.scanner_modality(name)
    issue = partial(make_issue, sample=sample.sample_id, file=path)
    if definition.scanners and told is None:
        message = f"scanner {name!r} is not among {definition.name}'s"
        action = "folder UND; the name stays in the columns"
        yield issue("unknown_scanner", message, action=action)
    elif told not in (None, sample.modality):
        message = f"its number says {sample.modality}, its scanner {name!r} {told}"
        yield issue("modality_mismatch", message, action=f"{sample.modality} used")


def check_files(sample: Sample, definition: DatasetDefinition) -> Iterator[Issue]:
    """Yield an issue when a sample lacks its volume, or its mask where one is expected."""
    issue = partial(make_issue, sample=sample.sample_id)
    if sample.volume is None and sample.mask is not None:
        message, file = "there is a mask but no scan", sample.mask.path
        yield issue("mask_without_volume", message, file=file, action="nothing written")
    is_expected = sample.subset in definition.subsets_with_masks
    if sample.mask is None and sample.volume is not None and is_expected:
        message, file = f"a {sample.subset} scan without a mask", sample.volume.path
        yield issue("missing_mask", message, file=file, action="no mask is made of it")


def _check_counts(samples: Iterable[Sample], definition: DatasetDefinition) -> Iterator[Issue]:
    found = Counter((s.subset, s.modality) for s in samples if s.volume is not None)
    official: Counter[tuple[str, str]] = Counter(
        {(s, m): n for s, row in definition.official_counts.items() for m, n in row.items()}
    )
    if official and found != official:
        ours, theirs = _describe_counts(found, definition), _describe_counts(official, definition)
        yield make_issue("subset_counts", f"found {ours}; official {theirs}")


def _describe_counts(counts: Counter[tuple[str, str]], definition: DatasetDefinition) -> str:
    """Return such as ``train 200+40, val 100+20``: of each modality that there may be."""
    others = ("und",) if any(m == "und" for _, m in counts) else ()
    modalities = tuple(dict.fromkeys((*definition.modalities, *others)))
    return ", ".join(
        f"{subset} " + "+".join(str(counts[subset, modality]) for modality in modalities)
        for subset in definition.subsets
    )
