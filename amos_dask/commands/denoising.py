"""Commands on organised samples: ``denoise``, and ``restore``, which undoes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amos_dask.arguments import (
    find_exclusions,
    find_label_map,
    require_kernel,
    require_threshold,
)
from amos_dask.commands.single import Workplace, work
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.labels import LabelMap
from amos_dask.records import DenoiseParams, Step
from amos_dask.results import CommandResult
from amos_dask.root.layout import CHANGES_SHEET, SampleFolder, absolute, find_samples_of
from amos_dask.root.working import working_on
from amos_dask.sample.changes import read_changes
from amos_dask.sample.denoising import ALREADY_DONE, DenoiseTask, denoise_sample, is_restorable
from amos_dask.sample.restoring import restore_sample
from amos_dask.sample.source import FolderTask
from amos_dask.selection import EVERYTHING, Selection
from amos_dask.tables.manifests import changes_frame
from amos_dask.tables.workbook import write_workbook


def denoise(
    root_dir: str | Path,
    output_dir: str | Path,
    *,
    kernel_size: tuple[int, int] = (5, 5),
    filter_halfedge: int = 3,
    region_area_thresh: float = 10.0,
    exclude: str | Path | None = None,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
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
    kernel_size : (int, int)
        Pixels of the structuring element along x and y.
    filter_halfedge : int
        Votes are counted in a box of ``2 * filter_halfedge + 1`` pixels.
    region_area_thresh : float
        Slice regions strictly below this area in mm2 may change.
    exclude : str or Path, optional
        What is left as it was: a csv file with columns ``sample`` and ``label``, where ``*`` or
        nothing means all; by default ROOT's ``descriptor/denoise_exclude.csv``, if there is one.
    label_explanation, selection, cluster, progress
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
    """
    place, output = Workplace.at(root_dir, selection, output_dir), absolute(output_dir)
    layout = place.layout
    label_map = find_label_map(layout, label_explanation)
    params = DenoiseParams(
        *require_kernel(kernel_size, filter_halfedge),
        require_threshold("region_area_thresh", region_area_thresh),
    )
    exclusions = find_exclusions(layout, exclude, label_map)
    tasks = [
        DenoiseTask(
            folder,
            layout,
            label_map,
            params,
            exclusions.for_sample(folder.sample_id),
            _moved(folder, place.folder, output),
        )
        for folder in place.masked()
    ]
    _require_restorable(tasks)
    with working_on(layout, place.folder, output):
        results = work("denoise", denoise_sample, tasks, cluster, progress)
        changes = [result.value for result in results if result.value is not None]
        n_skipped = changes.count(ALREADY_DONE)
        n_voxels = sum(changes) - n_skipped * ALREADY_DONE
        summary = f"{n_voxels} voxels changed in {len(changes) - n_skipped} masks"
        if n_skipped:
            summary += f"; {n_skipped} were denoised before"
        written = _write_changes(place, label_map) if output == place.folder else ()
        return place.finish(Step.DENOISE, results, (output, *written), summary)


def restore(
    root_dir: str | Path,
    *,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Put masks and binary masks back as they were before denoising, bit for bit.

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it, such as ``root_dir/grouped``.
    selection, cluster, progress
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
    """
    place = Workplace.at(root_dir, selection)
    layout = place.layout
    label_map = find_label_map(layout, None)
    tasks = [FolderTask(folder, layout, label_map) for folder in place.masked()]
    with working_on(layout, place.folder):
        results = work("restore", restore_sample, tasks, cluster, progress)
        n_restored = sum(result.value is True for result in results)
        n_others = sum(result.value is False for result in results)
        summary = f"{n_restored} masks are as they were before denoising"
        if n_others:
            summary += f"; {n_others} were not denoised"
        if n_restored:
            summary += (
                "; the next 'amos-dask run' denoises them again, except those that "
                f"{layout.denoise_exclude} lists"
            )
        outputs = (place.folder, *_write_changes(place, label_map))
        return place.finish(Step.DENOISE, results, outputs, summary)


def _write_changes(place: Workplace, label_map: LabelMap) -> tuple[Path, ...]:
    """Write what denoising changed in ROOT's masks, if those are what was worked on."""
    layout, folder = place.layout, place.folder
    if not (folder.is_relative_to(layout.grouped) or layout.grouped.is_relative_to(folder)):
        return ()
    tasks = (FolderTask(sample, layout, label_map) for sample in find_samples_of(layout))
    found = (read_changes(task).value for task in tasks)
    frame = changes_frame((changes for changes in found if changes is not None), label_map)
    write_workbook(layout.denoise_changes, {CHANGES_SHEET: frame})
    return (layout.denoise_changes,)


def _moved(folder: SampleFolder, root: Path, output: Path) -> SampleFolder:
    return replace(folder, path=output / folder.path.relative_to(root))


def _require_restorable(tasks: Sequence[DenoiseTask]) -> None:
    lost = [task for task in tasks if not is_restorable(task)]
    if lost:
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        raise AmosDaskError(
            f"{lost[0].shown(lost[0].folder.mask)}{more}: denoised with other parameters, and the "
            "undenoised mask is not kept; write it anew with confirm-pairs first."
        )
