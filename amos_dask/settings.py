"""What a run is asked for, and what it finds: archive, dataset, parameters, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from amos_dask.archive.discover import Discovery, discover
from amos_dask.compact import Compact
from amos_dask.errors import AmosDaskError, ArchiveError, number_of
from amos_dask.labels import LabelMap, label_key
from amos_dask.params import Exclusions, Params, require_threshold
from amos_dask.root.choices import (
    Remembered,
    choose_denoising,
    find_archives,
    find_exclusions,
    find_label_map,
    find_metadata_csv,
    layout_for,
    metadata_gone,
    place_of,
    read_remembered,
    require_outside_archive,
    settle_dataset,
)
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.receipts import Receipts
from amos_dask.sample.selection import EVERYTHING, Selection


@dataclass(frozen=True)
class Settings:
    """What a run is asked for; the fields are the arguments of `amos_dask.run`.

    None stands for what ROOT_DIR remembers of its last run, else for the documented default.

    Parameters
    ----------
    root_dir, archive, dataset, labeled_data_meta, label_explanation
        Where things are.
    metadata_encoding, mr_metadata_offset
        How the csv is read.
    region_volume_thresh, kernel_size, filter_halfedge, region_area_thresh, exclude
        How it is done.
    selection, force
        Which samples.
    adopt, discard_edits, prune, switch_archive, without_metadata
        What may happen to what is there already.
    statistics, report, csv, parquet
        What is written besides the dataset.
    """

    root_dir: str | Path
    archive: str | Path | Sequence[str | Path] | None = None
    dataset: str | Path | None = None
    labeled_data_meta: str | Path | None = None
    metadata_encoding: str | None = None
    mr_metadata_offset: str | None = None
    label_explanation: str | Path | None = None
    region_volume_thresh: Sequence[float] = (100.0,)
    kernel_size: Sequence[int] | None = None
    filter_halfedge: int | None = None
    region_area_thresh: float | None = None
    exclude: str | Path | None = None
    selection: Selection = EVERYTHING
    force: bool = False
    adopt: bool = False
    discard_edits: bool = False
    prune: bool = False
    switch_archive: bool = False
    without_metadata: bool = False
    statistics: bool = True
    report: bool = True
    csv: bool | None = None
    parquet: bool | None = None

    @property
    def twins(self) -> dict[str, bool]:
        """What workbooks are to be written as besides, and what no more."""
        asked = {"csv": self.csv, "parquet": self.parquet}
        return {form: is_wanted for form, is_wanted in asked.items() if is_wanted is not None}

    @cached_property
    def root(self) -> Path:
        """ROOT_DIR."""
        return absolute(self.root_dir)

    def require_outside_archive(self) -> None:
        """Raise when ROOT_DIR would lie inside the archive, which is never written to."""
        if self.archive is not None:
            layout = layout_for(self.root, self.dataset)
            for location in find_archives(layout, self.archive):
                require_outside_archive(self.root, location)


@dataclass(frozen=True)
class Found:
    """What a run has found, and goes by."""

    settings: Settings  # what was asked for
    layout: Layout
    archive: Discovery
    chosen: frozenset[str]  # ids of the chosen samples
    sample_ids: frozenset[str]  # ids of all samples of the archive
    params: Params  # of all samples; see `params_for`
    exclusions: Exclusions  # what denoising leaves as it was
    before: Remembered
    now: Remembered  # what ROOT_DIR is to remember of this run

    def params_for(self, sample_id: str) -> Params:
        """Return the parameters of one sample, with its exclusions."""
        return replace(self.params, excluded=self.exclusions.for_sample(sample_id))


def find(settings: Settings) -> Found:
    """Find the archive, check what was asked for, and choose the samples; write nothing.

    Raises
    ------
    AmosDaskError
        When something cannot be as it was asked for.
    """
    if settings.prune and not settings.selection.is_everything:
        raise AmosDaskError("--prune is for all samples; leave --ids, --subset and --modality out.")
    layout = layout_for(settings.root, settings.dataset)
    before = read_remembered(layout)
    csv = _choose_csv(layout, settings, before)
    archive = _find_archive(layout, settings, before, csv)
    layout = settle_dataset(layout, archive.definition)
    archive = _keep_subsets(layout, archive)
    chosen = frozenset(s.sample_id for s in settings.selection.choose(archive.samples))
    if not chosen and archive.samples:
        raise AmosDaskError(
            "--ids, --subset and --modality together choose none of the "
            f"{number_of(len(archive.samples), 'sample')}."
        )
    label_map = _choose_label_map(layout, settings)
    denoise = choose_denoising(
        layout, settings.kernel_size, settings.filter_halfedge, settings.region_area_thresh
    )
    # Region manifests that are there already are written for their thresholds as well.
    asked = {require_threshold("region_volume_thresh", t) for t in settings.region_volume_thresh}
    thresholds = tuple(sorted(asked | set(layout.region_thresholds())))
    params = Params(layout.dataset, label_map, denoise, thresholds)
    others = {s.sample_id: s.mask is not None for s in archive.samples if s.sample_id not in chosen}
    exclusions = _choose_exclusions(layout, settings.exclude, params.label_map, others)
    now = Remembered(
        _places_of(layout, archive.locations),
        None if csv.location is None else place_of(layout, csv.location),
        archive.has_metadata,
        csv.encoding,
        csv.mr_offset,
        params.denoise,
        exclusions.checksum,
    )
    every = chosen.union(others) if others else chosen
    return Found(settings, layout, archive, chosen, every, params, exclusions, before, now)


def _places_of(layout: Layout, locations: Sequence[str]) -> str | tuple[str, ...]:
    """Return where an archive is as that is kept; sorted, for their order changes nothing."""
    places = sorted(place_of(layout, location) for location in locations)
    return places[0] if len(places) == 1 else tuple(places)


class _Csv(NamedTuple):
    """The metadata csv that is named, if one is, and how to read whichever there is."""

    location: str | None
    encoding: str | None
    mr_offset: str


def _choose_csv(layout: Layout, settings: Settings, before: Remembered) -> _Csv:
    """Return what is given of the csv, else what is remembered of the same one."""
    named = settings.labeled_data_meta
    is_other = named is not None and place_of(layout, named) != before.labeled_data_meta
    if settings.switch_archive or is_other:
        before = Remembered()
    else:
        named = find_metadata_csv(layout, named, without_metadata=settings.without_metadata)
    return _Csv(
        None if named is None else str(named),
        settings.metadata_encoding or before.metadata_encoding,
        settings.mr_metadata_offset or before.mr_metadata_offset or "auto",
    )


def _find_archive(layout: Layout, settings: Settings, before: Remembered, csv: _Csv) -> Discovery:
    locations = find_archives(layout, settings.archive)
    for location in locations:
        require_outside_archive(layout.root, location)
    try:
        found = discover(locations, layout.dataset, csv.location, csv.mr_offset, csv.encoding)
    except ArchiveError as error:
        if settings.archive is None and before.archive is not None:
            raise ArchiveError(f"{error} Another archive is named with --archive.") from error
        raise
    if before.has_metadata and not (found.has_metadata or settings.without_metadata):
        raise metadata_gone(layout, "the metadata csv of its last run is gone")
    return found


def _keep_subsets(layout: Layout, archive: Discovery) -> Discovery:
    """Return an archive whose finished samples stay in their subset where it is told no more."""
    receipts = (Receipts(layout).read(name) for name in archive.without_subset)
    rows = (receipt.record.files for receipt in receipts if receipt is not None)
    known = {row.sample_id: row.subset for row in rows if row is not None}
    samples = (replace(s, subset=known.get(s.sample_id, s.subset)) for s in archive.samples)
    return replace(archive, samples=Compact(samples)) if known else archive


def _choose_label_map(layout: Layout, settings: Settings) -> LabelMap:
    """Return the label map; raise when a part of the samples would get another one.

    A label map that nobody changed follows the definition.
    """
    given = settings.label_explanation
    label_map = find_label_map(layout, given)
    if given is None and label_map == Layout.of(layout.root).dataset.label_map:
        label_map = layout.dataset.label_map
    _require_same_names(layout, label_map)
    is_part = layout.label_map.exists() and not settings.selection.is_everything
    if is_part and label_map != find_label_map(layout, None):
        raise AmosDaskError(
            f"{given or 'the definition'} differs from {layout.label_map}, which the other samples "
            "were made with; run without a choice of samples."
        )
    return label_map


def _require_same_names(layout: Layout, label_map: LabelMap) -> None:
    """Raise where masks are merged by the definition's labels and would be named by others."""
    if not layout.dataset.has_label_files:
        return
    names = layout.dataset.label_map.names()
    for label, name in label_map.names().items():
        if label_key(names.get(label, name)) != label_key(name):
            raise AmosDaskError(
                f"label {label} is {name!r} in {layout.label_map.name} and {names[label]!r} in the "
                f"definition of {layout.dataset.name}, whose masks are merged by these names; make "
                "them agree."
            )


def _choose_exclusions(
    layout: Layout, exclude: str | Path | None, label_map: LabelMap, others: Mapping[str, bool]
) -> Exclusions:
    """Return the exclusions; raise when they change for masks that are there and not chosen.

    ``others`` tells of each sample that is not chosen whether it has a mask.
    """
    exclusions = find_exclusions(layout, exclude, label_map)
    if exclude is None:
        return exclusions
    kept = find_exclusions(layout, None, label_map)
    for name in Receipts(layout).sample_ids():
        if others.get(name) and kept.for_sample(name) != exclusions.for_sample(name):
            raise AmosDaskError(
                f"{exclude} changes what is excluded of {name}, which was not chosen; run without "
                "a choice of samples."
            )
    return exclusions
