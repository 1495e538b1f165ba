"""What a run is asked for, understood and found to be possible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amos_dask.archive.discover import Discovery, discover
from amos_dask.arguments import (
    find_archive,
    find_exclusions,
    find_label_map,
    require_kernel,
    require_outside_archive,
    require_threshold,
)
from amos_dask.errors import AmosDaskError
from amos_dask.exclusions import Exclusions
from amos_dask.labels import LabelMap
from amos_dask.records import DenoiseParams, Params, Sample
from amos_dask.root.dataset import settle_dataset
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import Receipts
from amos_dask.running.samples import Order
from amos_dask.selection import Selection


@dataclass(frozen=True)
class Request:
    """What is asked for, understood and found to be possible.

    Parameters
    ----------
    found : Discovery
        The archive.
    order : Order
        Samples to process, and how.
    replaces_label_map, replaces_exclusions : bool
        Whether those given are to be kept in ROOT in place of its own.
    is_everything : bool
        Whether all samples were chosen.
    """

    found: Discovery
    order: Order
    replaces_label_map: bool
    replaces_exclusions: bool
    is_everything: bool


def understand(
    layout: Layout,
    archive: str | Path | None,
    metadata: tuple[str | Path | None, str],
    label_explanation: str | Path | None,
    region_volume_thresh: Sequence[float],
    denoise: tuple[tuple[int, int], int, float],
    exclude: str | Path | None,
    selection: Selection,
    *,
    force: bool,
) -> Request:
    """Find the archive, check what was asked for, and choose the samples.

    The arguments are those of `run`; ``metadata`` is the csv and the offset of MR rows in it,
    ``denoise`` kernel size, half-edge and area. Nothing is written.

    Raises
    ------
    AmosDaskError
        When something cannot be as it was asked for.
    """
    location = find_archive(layout, archive)
    require_outside_archive(layout.root, location)
    csv, offset = metadata
    found = discover(location, None if csv is None else str(csv), offset, layout.dataset)
    layout = settle_dataset(layout, found.definition)
    chosen = selection.choose(found.samples)
    kernel_size, filter_halfedge, region_area_thresh = denoise
    params = Params(
        _choose_label_map(layout, label_explanation, selection),
        DenoiseParams(
            *require_kernel(kernel_size, filter_halfedge),
            require_threshold("region_area_thresh", region_area_thresh),
        ),
        _thresholds(layout, region_volume_thresh),
        splits_prostate_uterus=layout.dataset.splits_prostate_uterus,
    )
    chosen_ids = {sample.sample_id for sample in chosen}
    others = [sample for sample in found.samples if sample.sample_id not in chosen_ids]
    exclusions = _choose_exclusions(layout, exclude, params.label_map, others)
    order = Order(layout, params, tuple(chosen), force, exclusions)
    replaces = (label_explanation is not None, exclude is not None)
    return Request(found, order, *replaces, selection.is_everything)


def _choose_label_map(
    layout: Layout, label_explanation: str | Path | None, selection: Selection
) -> LabelMap:
    """Return the label map; raise when a part of the samples would get another one."""
    label_map = find_label_map(layout, label_explanation)
    differs = label_explanation is not None and label_map != find_label_map(layout, None)
    if differs and layout.label_map.exists() and not selection.is_everything:
        raise AmosDaskError(
            f"{label_explanation} differs from {layout.label_map}, which the other samples were "
            "made with; run without a choice of samples."
        )
    return label_map


def _choose_exclusions(
    layout: Layout, exclude: str | Path | None, label_map: LabelMap, others: Iterable[Sample]
) -> Exclusions:
    """Return the exclusions; raise when they change for masks that are there and not chosen."""
    exclusions = find_exclusions(layout, exclude, label_map)
    if exclude is None:
        return exclusions
    kept = find_exclusions(layout, None, label_map)
    masked = {sample.sample_id for sample in others if sample.mask is not None}
    for name in Receipts(layout).sample_ids():
        if name in masked and kept.for_sample(name) != exclusions.for_sample(name):
            raise AmosDaskError(
                f"{exclude} changes what is excluded of {name}, which was not chosen; run without "
                "a choice of samples."
            )
    return exclusions


def _thresholds(layout: Layout, asked: Sequence[float]) -> tuple[float, ...]:
    """Return the thresholds asked for, and those of region manifests that are there already."""
    thresholds = {require_threshold("region_volume_thresh", threshold) for threshold in asked}
    return tuple(sorted(thresholds | set(layout.region_thresholds())))
