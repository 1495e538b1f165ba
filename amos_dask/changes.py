"""What is otherwise than ROOT_DIR remembers: another archive, parameters that change."""

from __future__ import annotations

from collections.abc import Iterable

from amos_dask.archive.locations import shown
from amos_dask.errors import ArchiveError
from amos_dask.params import DenoiseParams
from amos_dask.plan import Plan
from amos_dask.root.choices import Remembered
from amos_dask.root.receipts import Output, Receipts
from amos_dask.sample.todo import Reason
from amos_dask.settings import Found

# Of ten files that are remembered and there, so many may be others; of fewer files, one may.
_OTHERS_OF_TEN = 1


def require_same_archive(found: Found, plan: Plan) -> None:
    """Raise when the archive is not the one that finished samples were made from.

    At least one of the files that are remembered and there must be the same, and nine tenths of
    them; a single other file is no other archive, however few there are.

    Parameters
    ----------
    found : Found
        What the run goes by.
    plan : Plan
        Which files are the same.

    Raises
    ------
    ArchiveError
        Unless nothing is finished yet, or another archive was asked for.
    """
    n_there, n_same = len(plan.same_inputs), sum(plan.same_inputs)
    may_be_others = max(1, _OTHERS_OF_TEN * n_there // 10)
    is_same = n_same > 0 and n_there - n_same <= may_be_others
    if is_same or found.settings.switch_archive or not _has_finished(found):
        return
    location, before = shown(found.archive.location), found.before.archive
    other = "the archive of the last run" if before in (None, found.now.archive) else before
    told = (
        f"of the {n_there} files here that {found.layout.root} was made from, {n_same} are the same"
    )
    if n_there == 0:
        told = f"holds none of the files that {found.layout.root} was made from"
    raise ArchiveError(
        f"{location}: {told}, so it is not {other} as it was; choose another ROOT_DIR, or give "
        "--switch_archive to go on with this archive."
    )


def _has_finished(found: Found) -> bool:
    """Return whether anything was made from an archive; reads no more receipts than it must."""
    receipts = Receipts(found.layout)
    every = (receipts.read(sample_id) for sample_id in receipts.sample_ids())
    return any(receipt is not None and receipt.is_made_from_archive for receipt in every)


def describe_changes(found: Found, plan: Plan) -> str:
    """Return which of the remembered choices change, and what is made anew; empty where none does.

    Such as ``kernel_size 5 5 -> 7 7: the masks of 12 samples are made anew``.
    """
    before, now = found.before, found.now
    if before.archive is None:  # nothing is remembered
        return ""
    changes = [f"{name} {old} -> {new}" for name, old, new in _pairs(before, now) if old != new]
    if before.exclusions != now.exclusions:
        changes.append("other exclusions from denoising")
    if not changes:
        return ""
    changed = [planned for planned in plan.samples if planned.todo.reason == Reason.CHANGED]
    is_whole = [Output.VOLUME in planned.todo.outputs for planned in changed]
    n_masks = sum(  # a mask that the archive lacks now stays as it is
        planned.sample.mask is not None
        for planned, whole in zip(changed, is_whole, strict=True)
        if not whole
    )
    return f"{', '.join(changes)}: {_describe_made(sum(is_whole), n_masks)}"


def _pairs(before: Remembered, now: Remembered) -> Iterable[tuple[str, str, str]]:
    """Yield the name of an option with what it was and what it is."""
    yield "archive", str(before.archive), str(now.archive)
    yield "labeled_data_meta", _csv(before), _csv(now)
    recognised = "recognised"
    was, is_now = before.metadata_encoding or recognised, now.metadata_encoding or recognised
    yield "metadata_encoding", was, is_now
    yield "mr_metadata_offset", str(before.mr_metadata_offset), str(now.mr_metadata_offset)
    ours, theirs = now.denoise or DenoiseParams(), before.denoise or DenoiseParams()
    yield "kernel_size", "{} {}".format(*theirs.kernel_size), "{} {}".format(*ours.kernel_size)
    yield "filter_halfedge", str(theirs.filter_halfedge), str(ours.filter_halfedge)
    yield "region_area_thresh", str(theirs.region_area_thresh), str(ours.region_area_thresh)


def _csv(remembered: Remembered) -> str:
    own = "the archive's own" if remembered.has_metadata else "none"
    return remembered.labeled_data_meta or own


def _describe_made(n_whole: int, n_masks: int) -> str:
    if not (n_whole or n_masks):
        return "nothing is made anew"
    if not n_whole:
        return f"the masks of {_samples(n_masks)} are made anew"
    others = f" and the masks of {n_masks} others" if n_masks else ""
    are = "is" if n_whole == 1 and not n_masks else "are"
    return f"{_samples(n_whole)}{others} {are} made anew"


def _samples(n: int) -> str:
    return "1 sample" if n == 1 else f"{n} samples"
