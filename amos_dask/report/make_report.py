"""``report``: the page that shows what was changed, and the pictures that it shows."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from amos_dask import geometry
from amos_dask.engine.events import Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import ManifestError, number_of
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.records import SampleRecord, StepResult, by_number
from amos_dask.report.content import Findings, make_content, make_times
from amos_dask.results import CommandResult, all_issues, describe_samples, step_results
from amos_dask.root.choices import find_exclusions, find_label_map, require_sample_folders
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import MANIFEST_SHEET, Layout, SampleFolder, absolute
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import Receipts
from amos_dask.root.working import working_on
from amos_dask.sample.source import FolderSource
from amos_dask.sample.todo import written_record
from amos_dask.statistics.stats import write_statistics
from amos_dask.steps.count_values import of_channel
from amos_dask.steps.pictures import PICTURE_ARRAY, PictureTaker, pack_pictures, unpack_pictures
from amos_dask.tables.issue_files import IssueLog
from amos_dask.tables.manifests import FILE_TYPES
from amos_dask.tables.workbook import read_sheet


def make_report(
    root_dir: str | Path,
    *,
    label_explanation: str | Path | None = None,
    statistics: bool = True,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Write ``descriptor/report.html`` of an organised dataset, as `run` does.

    One file that needs nothing else: counts and issues, before and after of the slices that
    denoising changed most, distributions, repairs and times. Changes can be rejected in it, which
    gives the file that `denoise` and `run` take as ``exclude``.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR, with ``grouped``.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    statistics : bool
        Write ``descriptor/statistics.xlsx`` and ``.json`` as well, as `stats` does; without them
        the report has no organ volumes and intensities.
    adopt : bool
        A file in the way that is not ours goes to ``root_dir/replaced/``.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        With the page as its output.

    Raises
    ------
    AmosDaskError
        When there are no samples.
    """
    root = absolute(root_dir)
    with working_on(Layout(root), no_lock=no_lock):
        layout = Layout.of(root)
        label_map = find_label_map(layout, label_explanation)
        exclusions = find_exclusions(layout, None, label_map)
        folders = require_sample_folders(layout.grouped, layout)
        with (
            open_session(cluster, progress) as session,
            OwnFiles(layout, adopt=adopt) as own,
        ):
            records, issues = _records(session, layout, label_map, folders)
            rows = [record.files for record in records if record.files is not None]
            counted = write_statistics(session, own, label_map, rows) if statistics else None
            n_pictures, found = take_pictures(session, layout, label_map, records)
            issues += [*found, *(() if counted is None else counted.issues)]
            known = dict.fromkeys([*IssueLog(layout.issue_log).all(), *issues])
            findings = Findings(
                records, label_map, exclusions, counted, n_pictures, list(known), read_norms(layout)
            )
            write_report(own, findings)
    issues += own.issues()
    outputs = (layout.report, *(() if counted is None else counted.outputs))
    summary = f"{number_of(len(rows), 'sample')}, {len(n_pictures)} of them with pictures"
    return CommandResult(outputs, len(folders), summary, tuple(dict.fromkeys(issues)))


def _records(
    session: Session, layout: Layout, label_map: LabelMap, folders: Sequence[SampleFolder]
) -> tuple[list[SampleRecord], list[Issue]]:
    """Return each sample's record, from its receipt or else its files, and what is wrong there."""
    known = {folder: written_record(folder, layout) for folder in folders}
    unknown = [folder for folder, record in known.items() if record is None]
    if unknown:
        session.prepare_kernels()
    thresholds = tuple(layout.region_thresholds())
    reread = describe_samples(session, layout, label_map, unknown, thresholds)
    issues = [found.issue for record in reread for found in record.issues]
    records = [*(record for record in known.values() if record is not None), *reread]
    return sorted(records, key=lambda record: by_number(record.sample_id)), issues


def read_norms(layout: Layout) -> dict[str, float]:
    """Return sample -> norm of the difference of its mask's affine, where it was repaired.

    As the archive manifest tells; nothing where there is none, or where it was edited.
    """
    try:
        frame = read_sheet(layout.archive_manifest, MANIFEST_SHEET)
        masks = frame[frame["type"] == FILE_TYPES["mask"]].drop_duplicates("seq")
        names = [layout.dataset.sample_id(str(seq)) for seq in masks["seq"]]
        return find_repaired(zip(names, masks["diff_trans_f_norm"], strict=True))
    except (ManifestError, KeyError, ValueError):
        return {}


def find_repaired(norms: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """Return the norms of samples whose masks have another affine than their volumes."""
    return {
        name: round(float(norm), 6)
        for name, norm in norms
        if isinstance(norm, (int, float)) and norm > geometry.SAME_AFFINE_NORM
    }


def write_report(own: OwnFiles, findings: Findings) -> None:
    """Write the page.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    findings : Findings
        What it tells of.

    Raises
    ------
    ForeignFileError
        When a page that is not ours is in the way.
    """
    layout = own.layout
    content = make_content(layout, findings)
    times = make_times(_read_times(layout, findings))
    files, label_map = findings.files, findings.label_map
    sources = (
        FolderSource(layout.current_folder_of(files[name]), layout, label_map)
        for name in findings.n_pictures
    )
    pictures = ((source.name, read_pictures(source) or "[]") for source in sources)
    own.write(
        layout.report,
        lambda page: write_page(page, content, times, pictures),
        is_same=shows_the_same,
    )


def _read_times(layout: Layout, findings: Findings) -> dict[str, Mapping[str, float]]:
    """Return how long samples took, as far as that is kept."""
    receipts = Receipts(layout)
    kept = ((name, receipts.read(name)) for name in findings.files)
    return {name: r.seconds for name, r in kept if r is not None and r.seconds}


# More cards than this nobody looks through; the page would be slow to open.
MOST_PICTURED = 1000


def take_pictures(
    session: Session, layout: Layout, label_map: LabelMap, records: Sequence[SampleRecord]
) -> tuple[dict[str, int], list[Issue]]:
    """Take the pictures that are missing, and keep them.

    Parameters
    ----------
    session : Session
        Where to take them.
    layout : Layout
        ROOT_DIR.
    label_map : LabelMap
        The labels a mask may hold.
    records : sequence of SampleRecord
        All organised samples; at most `MOST_PICTURED` of those that denoising changed are pictured.

    Returns
    -------
    n_pictures : dict of str to int
        Sample -> how many pictures it has, most changed first.
    issues : list of Issue
        Samples that could not be pictured.
    """
    changed = [record for record in records if record.files is not None and record.n_changed]
    changed.sort(key=lambda record: (-record.n_changed, by_number(record.sample_id)))
    sources = [
        FolderSource(layout.current_folder_of(record.files), layout, label_map)
        for record in changed[:MOST_PICTURED]
        if record.files is not None
    ]
    numbers = session.look("known", count_pictures, sources)
    todo = [source for source, n in zip(sources, numbers, strict=True) if n is None]
    results = step_results(session.map("pictures", picture_sample, todo))
    taken = {result.sample_id: result.value for result in results}
    pairs = zip(sources, numbers, strict=True)
    known = {s.name: taken.get(s.name) if n is None else n for s, n in pairs}
    return {name: n for name, n in known.items() if n is not None}, all_issues(results)


def count_pictures(source: FolderSource) -> int | None:
    """Return how many pictures are kept of a sample; None where it was not pictured."""
    text = read_pictures(source)
    return None if text is None else len(json.loads(text))


def picture_sample(source: FolderSource) -> StepResult[int]:
    """Take pictures of a sample and keep them.

    Returns
    -------
    StepResult of int
        How many; None when volume or mask cannot be read, or where what denoising changed is not
        kept.
    """
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.name, None, tuple(issues))
    kept = KeptFiles(source.layout.restore)
    difference = kept.read_difference(source.name, source.folder.mask)
    if difference is None:  # which is said where the changes are listed
        return StepResult(source.name, None)
    folder = source.folder.path.relative_to(source.layout.grouped).as_posix()
    modality = source.layout.modality_of(folder) or "und"
    taker = PictureTaker(opened.labels, difference, opened.info.affine, modality)
    channel = source.layout.dataset.pictured_channel
    issues = source.show_volume(opened.labels.shape, taker.add, channel)
    if issues:
        return StepResult(source.name, None, tuple(issues))
    pictures = taker.result()
    packed = of_channel(pack_pictures(pictures), channel)
    Receipts(source.layout).keep_of_volume(source.folder, packed)
    return StepResult(source.name, len(pictures))


def read_pictures(source: FolderSource) -> str | None:
    """Return a sample's pictures as JSON text, a list of slices, most changed first.

    None where its files, as they are, have none, or they are damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    (name,) = of_channel({PICTURE_ARRAY: None}, source.layout.dataset.pictured_channel)
    try:
        found = kept.read_of_volume(source.sample_id, folder.mask, folder.volumes, (name,))
        text = None if found is None else unpack_pictures({PICTURE_ARRAY: found[name]})
        return text if text is not None and isinstance(json.loads(text), list) else None
    except (OSError, ValueError):
        return None


# ---------------------------------------------------------------- the page

# In this order they become one script; a file uses what the files before it define.
_SCRIPTS = (
    "core.js",
    "choices.js",
    "tables.js",
    "charts.js",
    "hover.js",
    "pictures.js",
    "files.js",
    "review.js",
    "sections.js",
    "distributions.js",
    "keys.js",
    "start.js",
)
_SLOT = re.compile(r"<!--slot:(\w+)-->")
# What differs between pages that show the same.
_PASSING = re.compile(
    rb'<title>.*?</title>|<script type="application/json" id="times">.*?</script>'
    rb'|"root":"(?:[^"\\]|\\.)*"',
    re.DOTALL,
)
_IN_SCRIPT = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_page(
    path: Path,
    content: Mapping[str, Any],
    times: Mapping[str, Any],
    pictures: Iterable[tuple[str, str]],
) -> None:
    """Write the report's page; the same arguments give the same bytes.

    Parameters
    ----------
    path : Path
        The file to write.
    content : mapping
        What the page shows, of what JSON knows; a number that is not finite is shown as unknown.
    times : mapping
        The time that steps and samples took. Apart, as it differs from run to run.
    pictures : iterable of (str, str)
        Sample id, and JSON text: the list of its slices. One pair is held in memory at a time.
    """
    style = _asset("report.css")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS)
    slots = {
        "policy": _policy(style, script),
        "title": html.escape(f"{content['root']} - report of amos-dask"),
        "style": f"<style>{style}</style>",
        "data": _data("content", _json(content)) + _data("times", _json(times)),
        "script": f"<script>{script}</script>",
    }
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        # Text and names of slots alternate. The pictures come last, after the script: the page is
        # drawn while they are still being read.
        for position, part in enumerate(_SLOT.split(_asset("page.html"))):
            if position % 2 == 0:
                file.write(part)
            elif part == "pictures":
                for sample_id, slices in pictures:
                    file.write(_data(f"pictures-{sample_id}", slices))
            else:
                file.write(slots[part])


def shows_the_same(first: Path, second: Path) -> bool:
    """Return whether two pages show the same, but for times and ROOT_DIR's name."""
    shown = (_PASSING.sub(b"", path.read_bytes()) for path in (first, second))
    return next(shown) == next(shown)


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the policy under which this one script and style run, and nothing is ever fetched."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(name: str, text: str) -> str:
    """Return JSON text as an element of the page; in JSON, what is escaped is within strings."""
    for character, escaped in _IN_SCRIPT.items():
        text = text.replace(character, escaped)
    return f'<script type="application/json" id="{html.escape(name)}">{text}</script>\n'


def _json(value: object) -> str:
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
