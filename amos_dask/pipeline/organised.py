"""Commands that work on organised samples: relabel, binary masks, regions, denoise, restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amos_dask.errors import AmosDaskError
from amos_dask.events import Listener
from amos_dask.labels import LabelMap
from amos_dask.pipeline.arguments import (
    find_exclusions,
    find_label_map,
    require_kernel,
    require_sample_folders,
    require_threshold,
)
from amos_dask.pipeline.reporting import record_issues, step_results
from amos_dask.pipeline.results import CommandResult
from amos_dask.pipeline.selection import EVERYTHING, Selection
from amos_dask.pipeline.session import open_session
from amos_dask.pipeline.working import working_on
from amos_dask.recipe.changes import read_changes
from amos_dask.recipe.denoising import (
    ALREADY_DONE,
    DenoiseTask,
    denoise_sample,
    is_restorable,
)
from amos_dask.recipe.folders import FolderTask
from amos_dask.recipe.organised import (
    RegionsTask,
    extract_binary_masks,
    find_sample_regions,
    split_sample,
)
from amos_dask.recipe.restoring import restore_sample
from amos_dask.records import DenoiseParams, Step, StepResult
from amos_dask.store.layout import (
    CHANGES_SHEET,
    MANIFEST_SHEET,
    REGIONS_SHEET,
    Layout,
    SampleFolder,
    absolute,
    find_root,
    find_samples_of,
)
from amos_dask.store.lock import require_unlocked
from amos_dask.tables.manifests import changes_frame, region_frames
from amos_dask.tables.workbook import write_workbook


def split_prostate_uterus(
    root_dir: str | Path,
    *,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Give label 15 of female patients the label 16, in place (routine 03).

    Parameters
    ----------
    root_dir : str or Path
        Folder with sample folders anywhere below it, such as ``root_dir/grouped``.
    selection : Selection
        Choice of samples.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        ``n_samples`` looked at; running it again changes nothing.

    Raises
    ------
    AmosDaskError
        When there are no samples.
    """
    root = Path(root_dir)
    layout = find_root(root)
    require_unlocked(layout)
    if not layout.dataset.splits_prostate_uterus:
        raise AmosDaskError(f"{root}: {layout.dataset.name} has no label of prostate or uterus.")
    label_map = find_label_map(layout, None)
    folders = _masked(root, layout, selection)
    tasks = [FolderTask(folder, layout, label_map) for folder in folders]
    with working_on(layout, absolute(root)):
        results = _run("split", split_sample, tasks, cluster, progress)
        n_changed = sum(result.value is True for result in results)
        summary = f"label 15 became 16 in {n_changed} of {len(tasks)} masks"
        return _finish(
            Step.SPLIT_PROSTATE_UTERUS,
            layout,
            results,
            (root,),
            summary,
            covers_all=_covers_all(root, layout, selection),
        )


def binary_masks(
    root_dir: str | Path,
    *,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
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
    selection, cluster, progress
        As for `split_prostate_uterus`.

    Returns
    -------
    CommandResult
        ``n_samples`` looked at.

    Raises
    ------
    AmosDaskError
        When there are no samples or the label map is not usable.
    """
    root = Path(root_dir)
    layout = find_root(root)
    require_unlocked(layout)
    label_map = find_label_map(layout, label_explanation)
    tasks = [FolderTask(folder, layout, label_map) for folder in _masked(root, layout, selection)]
    with working_on(layout, absolute(root)):
        results = _run("binary", extract_binary_masks, tasks, cluster, progress)
        n_files = sum(result.value or 0 for result in results)
        summary = f"{n_files} binary masks of {len(tasks)} samples"
        return _finish(
            Step.BINARY_MASKS,
            layout,
            results,
            (root,),
            summary,
            covers_all=_covers_all(root, layout, selection),
        )


def small_regions(
    root_dir: str | Path,
    output_manifest: str | Path,
    *,
    region_volume_thresh: float,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
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
    label_explanation, selection, cluster, progress
        As for `binary_masks`.

    Returns
    -------
    CommandResult
        With worksheet ``Regions`` as ``frame``.

    Raises
    ------
    AmosDaskError
        When there are no samples or the label map is not usable.
    """
    root, output = Path(root_dir), Path(output_manifest)
    layout = find_root(root, output)
    require_unlocked(layout)
    label_map = find_label_map(layout, label_explanation)
    tasks = [
        RegionsTask(
            folder,
            layout,
            label_map,
            require_threshold("region_volume_thresh", region_volume_thresh),
        )
        for folder in _masked(root, layout, selection)
    ]
    with working_on(layout):
        results = _run("regions", find_sample_regions, tasks, cluster, progress)
        found = [result.value for result in results if result.value is not None]
        manifest, regions = region_frames(found, label_map)
        write_workbook(output, {MANIFEST_SHEET: manifest, REGIONS_SHEET: regions})
        below = f"smaller than {region_volume_thresh:g} mm3"
        summary = f"{len(regions)} regions {below} in {len(found)} masks"
        return _finish(
            Step.SMALL_REGIONS,
            layout,
            results,
            (output,),
            summary,
            regions,
            covers_all=_covers_all(root, layout, selection),
        )


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
        As for `binary_masks`.

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
    root, output = absolute(root_dir), absolute(output_dir)
    layout = find_root(root, output)
    require_unlocked(layout)
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
            _moved(folder, root, output),
        )
        for folder in _masked(root, layout, selection)
    ]
    _require_restorable(tasks)
    with working_on(layout, root, output):
        results = _run("denoise", denoise_sample, tasks, cluster, progress)
        changes = [result.value for result in results if result.value is not None]
        n_skipped = changes.count(ALREADY_DONE)
        n_voxels = sum(changes) - n_skipped * ALREADY_DONE
        summary = f"{n_voxels} voxels changed in {len(changes) - n_skipped} masks"
        if n_skipped:
            summary += f"; {n_skipped} were denoised before"
        return _finish(
            Step.DENOISE,
            layout,
            results,
            (output, *(_write_changes(root, layout, label_map) if output == root else ())),
            summary,
            covers_all=_covers_all(root, layout, selection),
        )


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
        As for `split_prostate_uterus`.

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
    root = absolute(root_dir)
    layout = find_root(root)
    require_unlocked(layout)
    label_map = find_label_map(layout, None)
    tasks = [FolderTask(folder, layout, label_map) for folder in _masked(root, layout, selection)]
    with working_on(layout, root):
        results = _run("restore", restore_sample, tasks, cluster, progress)
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
        return _finish(
            Step.DENOISE,
            layout,
            results,
            (root, *_write_changes(root, layout, label_map)),
            summary,
            covers_all=_covers_all(root, layout, selection),
        )


def _write_changes(root: Path, layout: Layout, label_map: LabelMap) -> tuple[Path, ...]:
    """Write what denoising changed in ROOT's masks, if those are what was worked on."""
    if not (root.is_relative_to(layout.grouped) or layout.grouped.is_relative_to(root)):
        return ()
    folders = find_samples_of(layout)
    found = (read_changes(FolderTask(folder, layout, label_map)).value for folder in folders)
    frame = changes_frame((sample for sample in found if sample is not None), label_map)
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


def _masked(root: Path, layout: Layout, selection: Selection) -> list[SampleFolder]:
    folders = selection.choose_folders(require_sample_folders(absolute(root), layout))
    return [folder for folder in folders if folder.mask.exists()]


def _run(
    phase: str,
    function: Callable[[Any], StepResult[Any]],
    tasks: Sequence[Any],
    cluster: Any,
    progress: str | Listener,
) -> list[StepResult[Any]]:
    with open_session(cluster, progress) as session:
        session.prepare_kernels()
        return step_results(session.map(phase, function, tasks))


def _covers_all(root: Path, layout: Layout, selection: Selection) -> bool:
    """Return whether a command looked at every sample, so that its older issues are outdated."""
    return selection.is_everything and absolute(root) == layout.grouped


def _finish(
    step: Step,
    layout: Layout,
    results: Sequence[StepResult[Any]],
    outputs: tuple[Path, ...],
    summary: str,
    frame: Any = None,
    *,
    covers_all: bool,
) -> CommandResult:
    issues = tuple(issue for result in results for issue in result.issues)
    samples = None if covers_all else {result.sample_id for result in results}
    record_issues(layout, step, issues, samples)
    return CommandResult(outputs, len(results), summary, issues, frame)
