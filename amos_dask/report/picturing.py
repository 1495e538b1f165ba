"""Pictures of what denoising changed: a task for each organised sample, unless they are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence

from amos_dask.engine.session import Session
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.outcomes import all_issues, step_results
from amos_dask.records import SampleRecord, StepResult, sample_number
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import Receipts
from amos_dask.sample.source import FolderSource
from amos_dask.statistics.pooling import FEW_SAMPLES
from amos_dask.steps.pictures import PICTURE_ARRAY, PictureTaker, pack_pictures, unpack_pictures

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
    changed.sort(key=lambda record: (-record.n_changed, sample_number(record.sample_id)))
    sources = [
        FolderSource(layout.folder_of(record.files), layout, label_map)
        for record in changed[:MOST_PICTURED]
        if record.files is not None
    ]
    found: dict[str, int | None] = {}
    if len(sources) <= FEW_SAMPLES:
        kept = {source.name: read_pictures(source) for source in sources}
        found = {name: len(json.loads(text)) for name, text in kept.items() if text is not None}
    todo = [source for source in sources if source.name not in found]
    results = step_results(session.map("pictures", picture_sample, todo))
    found |= {result.sample_id: result.value for result in results}
    counts = ((source.name, found[source.name]) for source in sources)
    return {name: n for name, n in counts if n is not None}, all_issues(results)


def picture_sample(source: FolderSource) -> StepResult[int]:
    """Take pictures of a sample and keep them, unless they are there.

    Returns
    -------
    StepResult of int
        How many; None when volume or mask cannot be read, or where what denoising changed is not
        kept.
    """
    known = read_pictures(source)
    if known is not None:
        return StepResult(source.name, len(json.loads(known)))
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
    issues = source.show_volume(opened.labels.shape, taker.add)
    if issues:
        return StepResult(source.name, None, tuple(issues))
    pictures = taker.result()
    Receipts(source.layout).keep_of_volume(source.folder, pack_pictures(pictures))
    return StepResult(source.name, len(pictures))


def read_pictures(source: FolderSource) -> str | None:
    """Return a sample's pictures as JSON text, a list of slices, most changed first.

    None where its files, as they are, have none, or they are damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = (PICTURE_ARRAY,)
    try:
        found = kept.read_of_volume(source.sample_id, folder.mask, folder.volume, names)
        text = None if found is None else unpack_pictures(found)
        return text if text is not None and isinstance(json.loads(text), list) else None
    except (OSError, ValueError):
        return None
