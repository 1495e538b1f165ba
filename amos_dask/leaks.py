"""``leaks``: patients, and scans with the same voxels, of which a split has some on each side."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.engine.events import Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import InaccessibleFileError, UnreadableImageError, number_of
from amos_dask.file_refs import file_ref
from amos_dask.issues import Issue, in_order, make_issue
from amos_dask.nifti import ImageInfo, ImageReader, open_image, told_voxel_crc32
from amos_dask.records import Step, StepResult, by_number
from amos_dask.results import CommandResult, all_issues, step_results
from amos_dask.root.layout import MANIFEST_SHEET, Layout, absolute
from amos_dask.root.staging import gzip_trailer
from amos_dask.root.working import working_where_possible
from amos_dask.tables.assignments import PATIENT_COLUMNS, find_patients
from amos_dask.tables.issue_files import IssueLog, record_issues
from amos_dask.tables.workbook import read_sheet, require_columns

LEAK_COLUMNS = ("leak", "code", "ID", "part")

_SHAPE = ("szx", "szy", "szz")
_PATIENT, _DUPLICATE = "patient_crosses_split", "duplicate_scan"
_WHAT = {
    _PATIENT: "one patient, going by birth date, sex and site, or by the day",
    _DUPLICATE: "the same voxels",
}
_ACTIONS = {
    _PATIENT: "left as it is; 'make-split --group patient' keeps patients together",
    _DUPLICATE: "left as it is; leave out all of them but one",
}


@dataclass(frozen=True)
class Leak:
    """Scans that belong together and are in different parts of a split."""

    code: str  # ``patient_crosses_split`` or ``duplicate_scan``
    members: tuple[tuple[str, str], ...]  # ID and part of all scans that belong together, by ID

    def to_issue(self, file: str = "") -> Issue:
        """Return what there is to say of it; the issue is of the first of its scans."""
        where = ", ".join(f"{sample_id} is in {part}" for sample_id, part in self.members)
        message = f"{_WHAT[self.code]}: {where}"
        sample = self.members[0][0]
        return make_issue(self.code, message, sample=sample, file=file, action=_ACTIONS[self.code])


@dataclass(frozen=True)
class Leaks:
    """What crosses a split."""

    found: tuple[Leak, ...]  # patients, then duplicate scans
    # One for each of them, for information, and errors of volumes that could not be compared.
    issues: tuple[Issue, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all scans could be compared."""
        return not any(issue.severity == "error" for issue in self.issues)


def leaks(
    root_dir: str | Path,
    *,
    split_name: str | None = None,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """List patients and scans with the same voxels that are in several parts of a split.

    No voxels are unpacked but those of scans whose checksums agree. Of scans with several channels
    the first is compared.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR, with ``grouped/dataset_manifest.xlsx``.
    split_name : str, optional
        Worksheet of another split than the official one.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster, started when there are scans of one shape.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        ``frame`` has a row for each scan in a leak. Those of the official split are kept among
        the issues of ROOT_DIR as well.

    Raises
    ------
    AmosDaskError
        When the manifest or the split cannot be read, or a run is at work there.

    Examples
    --------
    >>> result = amos_dask.leaks("data/AMOS22", progress="none")
    >>> result.summary
    '0 patients and 0 groups of duplicate scans cross the official split.'
    """
    root, column = absolute(root_dir), split_name or "subset"
    with working_where_possible(Layout(root), no_lock=no_lock):
        layout = Layout.of(root)
        path = layout.dataset_manifest()
        manifest = read_sheet(path, split_name or MANIFEST_SHEET, values_of=(column,))
        require_columns(manifest, ("ID", "volume", *_SHAPE, *PATIENT_COLUMNS, column), path)
        with open_session(cluster, progress) as session:
            found = find_leaks(session, layout, manifest, column)
        outputs = _keep_issues(layout, found.issues) if split_name is None else ()
    summary = _describe(found, split_name)
    return CommandResult(outputs, len(manifest), summary, found.issues, leaks_frame(found.found))


def find_leaks(
    session: Session, layout: Layout, manifest: pd.DataFrame, column: str = "subset"
) -> Leaks:
    """Find what crosses a split of ROOT's dataset manifest.

    Parameters
    ----------
    session : Session
        Where scans of one shape are compared; not asked when there are none.
    layout : Layout
        ROOT_DIR.
    manifest : DataFrame
        The dataset manifest of everything.
    column : str
        Its column that tells the part of the split.
    """
    rows = manifest[manifest[column].notna()].drop_duplicates("ID")
    parts = {str(i): str(part) for i, part in zip(rows["ID"], rows[column], strict=True)}
    shown = f"{layout.grouped.name}/" + rows["volume"].astype(str)
    files = dict(zip(rows["ID"].astype(str), shown, strict=True))
    volumes = [Volume(i, layout.root / files[i], files[i]) for i in find_same_shape(rows)]
    voxels, issues = _find_same_voxels(session, volumes)
    patients = find_crossing(_PATIENT, find_patients(rows), parts)
    duplicates = find_crossing(_DUPLICATE, voxels, parts)
    issues += [leak.to_issue() for leak in patients]
    issues += [leak.to_issue(files[leak.members[0][0]]) for leak in duplicates]
    issues = in_order(issues)
    return Leaks((*patients, *duplicates), tuple(issues))


def _keep_issues(layout: Layout, issues: Iterable[Issue]) -> tuple[Path, ...]:
    """Write ROOT's issues, unless they say the same already; return the files."""
    log, issues = IssueLog(layout.issue_log), list(issues)
    before = log.all()
    log.replace(Step.LEAKS, issues)
    if log.all() == before:
        return ()
    record_issues(layout, Step.LEAKS, issues)
    return layout.issues_workbook, layout.issues_text


def _describe(found: Leaks, split_name: str | None) -> str:
    count = Counter(leak.code for leak in found.found)
    name = f"split {split_name!r}" if split_name is not None else "the official split"
    n_errors = sum(issue.severity == "error" for issue in found.issues)
    rest = f"; {number_of(n_errors, 'scan')} could not be compared" if n_errors else ""
    return (
        f"{number_of(count[_PATIENT], 'patient')} and "
        f"{number_of(count[_DUPLICATE], 'group')} of duplicate scans cross {name}{rest}."
    )


# ---------------------------------------------------------------- groups that cross


def find_crossing(code: str, groups: Mapping[str, str], parts: Mapping[str, str]) -> list[Leak]:
    """Return the groups that are in more than one part, by their first ID.

    Parameters
    ----------
    code : str
        What it is when a group crosses.
    groups : mapping of str to str
        ID -> group.
    parts : mapping of str to str
        ID -> part of the split; IDs without a part are in none of the leaks.
    """
    members = defaultdict(list)
    for sample_id, group in sorted(groups.items(), key=lambda item: by_number(item[0])):
        if sample_id in parts:
            members[group].append((sample_id, parts[sample_id]))
    found = (Leak(code, tuple(m)) for m in members.values() if len({p for _, p in m}) > 1)
    return sorted(found, key=lambda leak: by_number(leak.members[0][0]))


def find_same_shape(rows: pd.DataFrame) -> list[str]:
    """Return the IDs of rows that are not the only one of their shape: only those can be alike."""
    known = rows[rows[["ID", "volume", *_SHAPE]].notna().all(axis=1)]
    return [str(i) for i in known["ID"][known.duplicated(list(_SHAPE), keep=False)]]


def leaks_frame(leaks: Iterable[Leak]) -> pd.DataFrame:
    """Return a row a scan that takes part in a leak."""
    rows = [
        (number, leak.code, sample_id, part)
        for number, leak in enumerate(leaks, start=1)
        for sample_id, part in leak.members
    ]
    return pd.DataFrame(rows, columns=list(LEAK_COLUMNS))


# ---------------------------------------------------------------- the same voxels


def _find_same_voxels(
    session: Session, volumes: Sequence[Volume]
) -> tuple[dict[str, str], list[Issue]]:
    """Return ID -> what only scans with the same voxels have, and what could not be compared."""
    checks = session.look("known", tell_checksum, volumes)
    told = {volume.name: check for volume, check in zip(volumes, checks, strict=True)}
    unknown = [volume for volume in volumes if told[volume.name] is None]
    unpacked = step_results(session.map("checksum", checksum_voxels, unknown))
    checksums = told | {result.sample_id: result.value for result in unpacked}
    count = Counter(checksums.values())
    left = [v for v in volumes if checksums[v.name] is not None and count[checksums[v.name]] > 1]
    compared = step_results(session.map("compare", digest_voxels, left))
    digests = {result.sample_id: result.value for result in compared if result.value is not None}
    return digests, all_issues([*unpacked, *compared])


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume to compare with others."""

    name: str  # the id of its sample
    path: Path
    shown_as: str  # in issues: POSIX, relative to ROOT_DIR


def tell_checksum(volume: Volume) -> str | None:
    """Return what `checksum_voxels` does, as far as the end of a file that we wrote tells it."""
    try:
        with open_image(file_ref(volume.path, volume.shown_as)) as image:
            told = told_voxel_crc32(image, bytes.fromhex(gzip_trailer(volume.path)))
            return None if told is None else f"{_kind(image.info)} {told:08x}"
    except (UnreadableImageError, InaccessibleFileError, OSError):
        return None  # said when it is to be unpacked


def checksum_voxels(volume: Volume) -> StepResult[str]:
    """Return what scans with the same voxels have in common, and hardly ever others."""
    return _read(volume, lambda image: f"{_kind(image.info)} {voxel_crc32(image):08x}")


def digest_voxels(volume: Volume) -> StepResult[str]:
    """Return what only scans with the same voxels have in common; unpacks the volume."""
    return _read(volume, lambda image: f"{_kind(image.info)} {voxel_sha256(image)}")


def _kind(info: ImageInfo) -> str:
    """Return what the same bytes may mean different voxels by."""
    return f"{info.shape} {info.stored_dtype.name} {info.slope} {info.inter}"


def _read(volume: Volume, read: Callable[[ImageReader], str]) -> StepResult[str]:
    try:
        with open_image(file_ref(volume.path, volume.shown_as)) as image:
            return StepResult(volume.name, read(image))
    except (UnreadableImageError, InaccessibleFileError, OSError) as error:
        issue = make_issue(
            "unreadable_volume",
            str(error),
            sample=volume.name,
            file=volume.shown_as,
            action="not compared with other scans",
        )
        return StepResult(volume.name, None, (issue,))


def voxel_crc32(image: ImageReader) -> int:
    """Return the CRC-32 of the voxels by unpacking them.

    Raises
    ------
    UnreadableImageError
        When the file is damaged or ends early.
    """
    crc32 = 0
    for voxels in image.chunks():
        crc32 = zlib.crc32(voxels.data, crc32)
    return crc32


def voxel_sha256(image: ImageReader) -> str:
    """Return the SHA-256 of the voxels by unpacking them, as hex.

    Raises
    ------
    UnreadableImageError
        When the file is damaged or ends early.
    """
    digest = hashlib.sha256()
    for voxels in image.chunks():
        digest.update(voxels.data)
    return digest.hexdigest()
