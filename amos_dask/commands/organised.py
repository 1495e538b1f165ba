"""Commands on organised samples: prostate and uterus, binary masks, small regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amos_dask.arguments import find_label_map, require_threshold
from amos_dask.commands.single import Workplace, work
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.records import Step
from amos_dask.results import CommandResult
from amos_dask.root.layout import MANIFEST_SHEET, REGIONS_SHEET
from amos_dask.root.working import working_on
from amos_dask.sample.organised import (
    RegionsTask,
    extract_binary_masks,
    find_sample_regions,
    split_sample,
)
from amos_dask.sample.source import FolderTask
from amos_dask.selection import EVERYTHING, Selection
from amos_dask.tables.manifests import region_frames
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
    place = Workplace.at(root_dir, selection)
    layout = place.layout
    if not layout.dataset.splits_prostate_uterus:
        raise AmosDaskError(
            f"{Path(root_dir)}: {layout.dataset.name} has no label of prostate or uterus."
        )
    label_map = find_label_map(layout, None)
    tasks = [FolderTask(folder, layout, label_map) for folder in place.masked()]
    with working_on(layout, place.folder):
        results = work("split", split_sample, tasks, cluster, progress)
        n_changed = sum(result.value is True for result in results)
        summary = f"label 15 became 16 in {n_changed} of {len(tasks)} masks"
        return place.finish(Step.SPLIT_PROSTATE_UTERUS, results, (Path(root_dir),), summary)


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
    place = Workplace.at(root_dir, selection)
    label_map = find_label_map(place.layout, label_explanation)
    tasks = [FolderTask(folder, place.layout, label_map) for folder in place.masked()]
    with working_on(place.layout, place.folder):
        results = work("binary", extract_binary_masks, tasks, cluster, progress)
        n_files = sum(result.value or 0 for result in results)
        summary = f"{n_files} binary masks of {len(tasks)} samples"
        return place.finish(Step.BINARY_MASKS, results, (Path(root_dir),), summary)


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
    place = Workplace.at(root_dir, selection, output_manifest)
    label_map = find_label_map(place.layout, label_explanation)
    threshold_mm3 = require_threshold("region_volume_thresh", region_volume_thresh)
    tasks = [
        RegionsTask(folder, place.layout, label_map, threshold_mm3) for folder in place.masked()
    ]
    with working_on(place.layout):
        results = work("regions", find_sample_regions, tasks, cluster, progress)
        found = [result.value for result in results if result.value is not None]
        manifest, regions = region_frames(found, label_map)
        output = Path(output_manifest)
        write_workbook(output, {MANIFEST_SHEET: manifest, REGIONS_SHEET: regions})
        summary = f"{len(regions)} regions smaller than {threshold_mm3:g} mm3 in {len(found)} masks"
        return place.finish(Step.SMALL_REGIONS, results, (output,), summary, regions)
