"""Commands on organised samples, a step each: relabel, binary masks, regions, denoise, restore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amos_dask.commands.workplace import Workplace, working_at
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError, number_are, number_of
from amos_dask.labels import LabelMap
from amos_dask.params import Params, require_threshold
from amos_dask.records import SampleResult, Step
from amos_dask.results import CommandResult
from amos_dask.root.choices import choose_denoising, find_exclusions, find_label_map
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import (
    CHANGES_SHEET,
    MANIFEST_SHEET,
    REGIONS_SHEET,
    absolute,
    find_samples_of,
)
from amos_dask.root.own_files import OwnFiles
from amos_dask.sample.describe import read_changes
from amos_dask.sample.publish import is_stale_mask
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.source import CANNOT_BE_READ, FolderSource
from amos_dask.sample.todo import SampleTask
from amos_dask.steps.denoise import denoising_mark, is_denoised
from amos_dask.tables.manifests import changes_frame, region_frames
from amos_dask.tables.own_workbooks import put_workbook


def split_prostate_uterus(
    root_dir: str | Path,
    *,
    selection: Selection = EVERYTHING,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Give label 15 of female patients the label 16, in place (routine 03).

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it, such as ``root_dir/grouped``.
    selection, no_lock, cluster, progress
        Which samples, and how to run; as for `amos_dask.run`.

    Returns
    -------
    CommandResult
        ``n_samples`` looked at; running it again changes nothing.

    Raises
    ------
    AmosDaskError
        When there are no samples.

    Examples
    --------
    >>> amos_dask.split_prostate_uterus("data/AMOS22/grouped", progress="none").summary
    'label 15 became 16 in 0 of 8 masks'
    """
    with working_at(root_dir, selection, cluster, progress, no_lock=no_lock) as place:
        layout = place.layout
        if not layout.dataset.splits_prostate_uterus:
            raise AmosDaskError(
                f"{Path(root_dir)}: {layout.dataset.name} has no label of prostate or uterus."
            )
        params = Params(layout.dataset, find_label_map(layout, None))
        results = place.make("split", place.tasks({Step.SPLIT_PROSTATE_UTERUS}, params))
        n_changed = sum(result.is_changed for result in results)
        summary = f"label 15 became 16 in {n_changed} of {number_of(len(results), 'mask')}"
        return place.finish(Step.SPLIT_PROSTATE_UTERUS, results, summary, Path(root_dir))


def binary_masks(
    root_dir: str | Path,
    *,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Write a binary mask for each label beside each multi-label mask (routine 04).

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    selection, no_lock, cluster, progress
        As for `split_prostate_uterus`.

    Returns
    -------
    CommandResult
        ``n_samples`` looked at.

    Raises
    ------
    AmosDaskError
        When there are no samples or the label map is not usable.

    Examples
    --------
    >>> amos_dask.binary_masks("data/AMOS22/grouped", progress="none").summary
    '136 binary masks of 8 samples'
    """
    with working_at(root_dir, selection, cluster, progress, no_lock=no_lock) as place:
        params = Params(place.layout.dataset, find_label_map(place.layout, label_explanation))
        results = place.make("binary", place.tasks({Step.BINARY_MASKS}, params))
        n_files = sum(result.n_binary_masks for result in results)
        summary = f"{number_of(n_files, 'binary mask')} of {number_of(len(results), 'sample')}"
        return place.finish(Step.BINARY_MASKS, results, summary, Path(root_dir))


def small_regions(
    root_dir: str | Path,
    output_manifest: str | Path,
    *,
    region_volume_thresh: float,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """List regions of each label that are smaller than a volume.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it.
    output_manifest : str or Path
        The workbook to write: ``Manifest`` (a row a sample) and ``Regions`` (a row a region).
    region_volume_thresh : float
        Regions strictly below this volume in mm3 are listed.
    adopt : bool
        A file in the way that is not ours goes to ``replaced/`` of ROOT_DIR.
    label_explanation, selection, no_lock, cluster, progress
        As for `binary_masks`.

    Returns
    -------
    CommandResult
        With worksheet ``Regions`` as ``frame``.

    Raises
    ------
    AmosDaskError
        When there are no samples or the label map is not usable.

    Examples
    --------
    >>> result = amos_dask.small_regions(
    ...     "data/AMOS22/grouped", "regions.xlsx", region_volume_thresh=100.0, progress="none"
    ... )
    >>> result.frame[["ID", "label_name", "n_voxels"]].head(1).values.tolist()
    [['amos_0001', 'gall bladder', 18]]
    """
    threshold_mm3 = require_threshold("region_volume_thresh", region_volume_thresh)
    output = Path(output_manifest)
    with working_at(
        root_dir, selection, cluster, progress, output=output, no_lock=no_lock
    ) as place:
        label_map = find_label_map(place.layout, label_explanation)
        params = Params(place.layout.dataset, label_map, region_volume_thresh=(threshold_mm3,))
        results = place.make("regions", place.tasks({Step.SMALL_REGIONS}, params))
        found = [(r.sample_id, regions) for r in results for _, regions in r.regions]
        manifest, frame = region_frames(found, label_map)
        with OwnFiles(place.layout, adopt=adopt) as own:
            put_workbook(own, absolute(output), {MANIFEST_SHEET: manifest, REGIONS_SHEET: frame})
        regions, masks = number_of(len(frame), "region"), number_of(len(found), "mask")
        summary = f"{regions} smaller than {threshold_mm3:g} mm3 in {masks}"
        return place.finish(Step.SMALL_REGIONS, results, summary, output, frame=frame)


def denoise(
    root_dir: str | Path,
    output_dir: str | Path,
    *,
    kernel_size: tuple[int, int] | None = None,
    filter_halfedge: int | None = None,
    region_area_thresh: float | None = None,
    exclude: str | Path | None = None,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Remove islands and fill pinholes on the slices of multi-label masks.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it.
    output_dir : str or Path
        The same folder to work in place, or another, which gets masks and binary masks only.
    kernel_size, filter_halfedge, region_area_thresh, exclude
        How slices are denoised, and what is left as it was; as for `amos_dask.run`.
    adopt : bool
        A file in the way in another ``output_dir`` that is not ours goes to ROOT's ``replaced/``;
        otherwise it is the error ``foreign_file``.
    label_explanation, selection, no_lock, cluster, progress
        As for `amos_dask.binary_masks`.

    Returns
    -------
    CommandResult
        ``n_samples`` looked at. Masks denoised with the same parameters and exclusions are left as
        they are. In place, ``descriptor/denoise_changes.xlsx`` is written, of all samples of ROOT.

    Raises
    ------
    AmosDaskError
        When there are no samples, the label map or the exclusions are not usable, or a mask was
        denoised with other parameters and its undenoised form is not kept.

    Examples
    --------
    >>> result = amos_dask.denoise("data/AMOS22/grouped", "data/AMOS22/grouped", progress="none")
    >>> result.summary
    '0 voxels changed in 0 masks; 8 were denoised before'
    """
    output = absolute(output_dir)
    with working_at(
        root_dir, selection, cluster, progress, output=output, no_lock=no_lock
    ) as place:
        how = choose_denoising(place.layout, kernel_size, filter_halfedge, region_area_thresh)
        label_map = find_label_map(place.layout, label_explanation)
        exclusions = find_exclusions(place.layout, exclude, label_map)
        params = Params(place.layout.dataset, label_map, how, ())
        steps = {Step.DENOISE, Step.BINARY_MASKS}
        tasks = place.tasks(steps, params, exclusions, output, adopt=adopt)
        _require_restorable(tasks)
        results = place.make("denoise", tasks)
        n_denoised = sum(result.is_changed for result in results)
        n_voxels = sum(result.n_changed for result in results)
        summary = f"{number_of(n_voxels, 'voxel')} changed in {number_of(n_denoised, 'mask')}"
        if n_before := _count_as_they_were(results):
            summary += f"; {n_before} {'was' if n_before == 1 else 'were'} denoised before"
        written = _write_changes(place, label_map) if output == place.folder else ()
        return place.finish(Step.DENOISE, results, summary, output, *written)


def _require_restorable(tasks: Sequence[SampleTask]) -> None:
    """Raise when a mask was denoised another way and cannot be had back; reads no voxels."""
    sources = [(t.source, t.params) for t in tasks if isinstance(t.source, FolderSource)]
    if lost := [s.folder.mask for s, params in sources if not _is_restorable(s, params)]:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise AmosDaskError(
            f"{tasks[0].layout.shown(lost[0])}{more}: denoised with other parameters, "
            "and the undenoised mask is not kept; write it anew with confirm-pairs first."
        )


def _is_restorable(source: FolderSource, params: Params) -> bool:
    mask = source.folder.mask
    try:
        description = source.read_header(mask).description
    except CANNOT_BE_READ:
        return True  # the task itself says what is wrong with it
    if not is_denoised(description) or is_stale_mask(source.folder, source.layout):
        return True
    if description == denoising_mark(params.denoise, params.excluded):
        return True
    return KeptFiles(source.layout.restore).read_difference(source.name, mask) is not None


def restore(
    root_dir: str | Path,
    *,
    selection: Selection = EVERYTHING,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Put masks and binary masks back as they were before denoising, bit for bit.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it, such as ``root_dir/grouped``.
    selection, no_lock, cluster, progress
        As for `amos_dask.split_prostate_uterus`.

    Returns
    -------
    CommandResult
        ``n_samples`` looked at; a mask that cannot be had back is an issue. The next `run` denoises
        these samples again, unless they are excluded.

    Raises
    ------
    AmosDaskError
        When there are no samples.

    Examples
    --------
    >>> chosen = amos_dask.Selection(ids=["1"])
    >>> result = amos_dask.restore("data/AMOS22/grouped", selection=chosen, progress="none")
    >>> result.summary.partition(";")[0]
    '1 mask is as before denoising'
    """
    with working_at(root_dir, selection, cluster, progress, no_lock=no_lock) as place:
        layout = place.layout
        label_map = find_label_map(layout, None)
        params = Params(layout.dataset, label_map, region_volume_thresh=())
        results = place.make("restore", place.tasks({Step.RESTORE, Step.BINARY_MASKS}, params))
        n_restored = sum(result.is_changed for result in results)
        summary = f"{number_are(n_restored, 'mask')} as before denoising"
        if n_others := _count_as_they_were(results):
            summary += f"; {n_others} {'was' if n_others == 1 else 'were'} not denoised"
        if n_restored:
            summary += "; the next 'amos-dask run' denoises them again, except those that "
            summary += f"{layout.denoise_exclude} lists"
        written = _write_changes(place, label_map)
        return place.finish(Step.DENOISE, results, summary, place.folder, *written)


def _count_as_they_were(results: Sequence[SampleResult]) -> int:
    """Return how many samples there was nothing to do for."""
    return sum(
        not (result.is_changed or any(f.issue.severity == "error" for f in result.issues))
        for result in results
    )


def _write_changes(place: Workplace, label_map: LabelMap) -> tuple[Path, ...]:
    """Write what denoising changed in ROOT's masks, if those are what was worked on."""
    layout, folder = place.layout, place.folder
    if not (folder.is_relative_to(layout.grouped) or layout.grouped.is_relative_to(folder)):
        return ()
    samples = (FolderSource(sample, layout, label_map) for sample in find_samples_of(layout))
    found = (changes for sample in samples if (changes := read_changes(sample)) is not None)
    frame = changes_frame(found, label_map)
    with OwnFiles(layout) as own:
        put_workbook(own, layout.denoise_changes, {CHANGES_SHEET: frame})
    return (layout.denoise_changes,)
