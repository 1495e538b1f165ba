"""The form of arrays: a file a sample, on one grid, ready to be loaded and trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.orientations import axcodes2ornt

from amos_dask.datasets import SUBSETS
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.export.array_files import ENDINGS, ArrayMaker
from amos_dask.export.files import OWN_KEY, Exported, ExportTask
from amos_dask.export.resampling import GridSettings, spacing_along
from amos_dask.export.update import Form, export
from amos_dask.export.wanted import asked_for, find_wanted
from amos_dask.records import StepResult
from amos_dask.results import CommandResult
from amos_dask.root.choices import require_no_archive
from amos_dask.root.export_mark import ExportMark, path_from
from amos_dask.root.layout import Layout, absolute
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.source import CANNOT_BE_READ

FORMATS = tuple(ENDINGS)
_CHANNELS = {"ct": "CT", "mri": "MR"}


def export_arrays(
    root_dir: str | Path,
    directory: str | Path,
    *,
    orientation: str | None = None,
    spacing: Sequence[float] | Literal["median"] | None = None,
    interpolation: Literal["linear", "cubic"] = "linear",
    window: tuple[float, float] | None = None,
    percentiles: tuple[float, float] | None = None,
    crop: Literal["body", "labels"] | None = None,
    margin: int = 10,
    form: Literal["nifti", "npz", "zarr"] = "nifti",
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    split_name: str | None = None,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as arrays of one orientation, spacing and range of values.

    First the axes are turned, then voxels resampled, then cropped, then values scaled. Volume and
    mask of a sample stay on one grid, whose affine every format tells. Samples that were made
    already, with the same settings and of the same files, are not made again, also after a kill.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    directory : str or Path
        Gets ``dataset.json``, and ``images`` and ``labels`` with NIfTI files, or ``samples``. An
        earlier export is brought up to date; files in it that are not as it wrote them stay.
    orientation : str, optional
        Where the axes are to point to, such as ``RAS``; by default as they are.
    spacing : (float, float, float) or "median", optional
        In mm, along the axes of that orientation; the median of the chosen samples' spacings; by
        default as it is. Of n voxels become ``round((n - 1) * old / new + 1)`` from the same
        first centre, as MONAI's ``Spacing`` has it.
    interpolation : {"linear", "cubic"}
        Of volumes. Each voxel of a mask gets the label with the largest share by linear
        interpolation.
    window : (float, float), optional
        Values that become 0 and 1; what is beyond is cut off. By default values stay.
    percentiles : (float, float), optional
        The same by percentiles of all voxels of the scan, channel by channel.
    crop : {"body", "labels"}, optional
        Leave out what is not in the box around the body (CT: the largest region above -500 HU; MR:
        above a tenth of the 99th percentile) or around the labels. Scans without labels stay whole.
    margin : int
        Voxels around that box which stay.
    form : {"nifti", "npz", "zarr"}
        ``.nii.gz`` a channel and mask; or a file a sample with ``image`` (channel, x, y, z),
        ``label`` and ``affine``: ``.npz``, or ``.zarr.zip`` (extra ``zarr``).
    merge_prostate_uterus, mr_without_14_16, label_explanation, split_name, selection
        As for `export_nnunet`.
    adopt, no_lock, cluster, progress
        As for `export_nnunet`.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, an option is not usable, or the place is taken or in
        an archive.

    Examples
    --------
    >>> result = amos_dask.export_arrays(
    ...     "data/AMOS22", "arrays", orientation="RAS", spacing=(4, 4, 8), progress="none"
    ... )
    >>> result.summary.partition(";")[0]
    '5 training, 3 validation and 4 test scans'
    """
    if form == "zarr" and find_spec("zarr") is None:
        raise AmosDaskError("zarr is not installed: pip install 'amos-dask[zarr]'.")
    if form not in FORMATS:
        raise AmosDaskError(f"form {form!r} is not known; choose from {FORMATS}.")
    settings = GridSettings(
        orientation=(orientation or "").upper(),
        spacing=_as_floats(spacing) if spacing is not None and spacing != "median" else spacing,
        interpolation=interpolation,
        window=None if window is None else _as_floats(window),
        percentiles=None if percentiles is None else _as_floats(percentiles),
        crop=crop or "",
        margin=margin,
    )
    _require_usable(settings)
    asked = asked_for(
        "arrays",
        root_dir,
        selection,
        label_explanation,
        merge_prostate_uterus,
        mr_without_14_16,
        split_name,
    )
    return export(
        asked,
        partial(_plan_arrays, base=absolute(directory), settings=settings, form=form),
        link="",
        adopt=adopt,
        no_lock=no_lock,
        cluster=cluster,
        progress=progress,
    )


def _as_floats(numbers: Sequence[float]) -> Any:
    return tuple(float(number) for number in numbers)


def _require_usable(settings: GridSettings) -> None:
    """Raise when settings cannot be followed."""
    if settings.orientation:
        try:
            axcodes2ornt(tuple(settings.orientation))
            is_known = sorted(settings.orientation.translate(_ONE_AXIS)) == ["A", "R", "S"]
        except ValueError:
            is_known = False
        if not is_known:
            raise AmosDaskError(
                f"orientation {settings.orientation!r}: one of L and R, of A and P, of S and I, "
                "such as RAS."
            )
    spacing = settings.spacing
    is_grid = spacing in (None, "median") or (len(spacing or ()) == 3 and _are_above_0(spacing))
    if not is_grid:
        raise AmosDaskError(f"spacing must be three numbers above 0, or median, not {spacing}.")
    if settings.window is not None and settings.percentiles is not None:
        raise AmosDaskError("window and percentiles exclude each other.")
    for name, ends in (("window", settings.window), ("percentiles", settings.percentiles)):
        if ends is not None and not (
            len(ends) == 2 and np.isfinite(ends).all() and ends[0] < ends[1]
        ):
            raise AmosDaskError(f"{name} must be two numbers, the lower one first, not {ends}.")
    if settings.percentiles is not None and not 0 <= min(settings.percentiles) <= 100:
        raise AmosDaskError("percentiles are from 0 to 100.")
    if settings.interpolation not in ("linear", "cubic") or settings.crop not in _CROPS:
        raise AmosDaskError("interpolation is linear or cubic; crop is body or labels.")
    if settings.margin < 0:
        raise AmosDaskError(f"margin must be a number of voxels, not {settings.margin}.")


_ONE_AXIS = str.maketrans("LPI", "RAS")
_CROPS = ("", "body", "labels")


def _are_above_0(numbers: Any) -> bool:
    return bool(np.isfinite(numbers).all() and min(numbers) > 0)


def _plan_arrays(
    mark: ExportMark, layout: Layout, base: Path, settings: GridSettings, form: str
) -> Form:
    """Return what the export is to be; raise where its place is in an archive."""
    require_no_archive(layout, base)
    if settings.spacing == "median":
        settings = replace(settings, spacing=_median_spacing(mark, settings.orientation))
    mark = replace(mark, settings={**asdict(settings), "form": form})
    modalities = (_CHANNELS.get(modality, "UND") for modality in mark.label_values)
    channel = "_or_".join(modalities)
    return _ArrayFiles(mark, layout.dataset, base, base / "dataset.json", channel, settings, form)


def _median_spacing(mark: ExportMark, orientation: str) -> tuple[float, float, float]:
    """Return the median of the samples' spacings along each axis of an orientation."""
    found = []
    for task in find_wanted(mark)[1]:
        try:
            info = task.read_header(task.folder.volume)
        except CANNOT_BE_READ:
            continue  # which its task says
        found.append(spacing_along(info.affine, orientation))
    if not found:
        raise AmosDaskError(f"{mark.root_dir}: no scan can be read, to take the spacing of.")
    sx, sy, sz = np.median(np.array(found), axis=0).tolist()
    return sx, sy, sz


@dataclass(frozen=True)
class _ArrayFiles(Form):
    settings: GridSettings
    form: str  # of the files

    @property
    def make(self) -> Callable[[ExportTask], StepResult[Exported]]:
        """What makes the files of one sample, on a worker."""
        return ArrayMaker(self.settings, self.form, self.channels, self.mark.label_names)

    def place(self, task: ExportTask) -> ExportTask:
        """Give a sample the places for its files: NIfTI has the mask in one of its own."""
        ending = ENDINGS[self.form]
        if self.form != "nifti":
            return replace(task, images=(self.base / "samples" / f"{task.case}{ending}",))
        several = len(self.channels) > 1
        names = (
            f"{task.case}_{k:04d}" if several else task.case for k in range(len(self.channels))
        )
        images = tuple(self.base / "images" / f"{name}{ending}" for name in names)
        return replace(task, images=images, label=self.base / "labels" / f"{task.case}{ending}")

    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        """Return ``dataset.json``: settings, labels, and the files of each sample."""
        entries = {subset: self._entries(placed, subset) for subset in SUBSETS}
        content: dict[str, Any] = {
            **self.describe(self.dataset.name),
            "settings": self.mark.settings,
            "channel_names": {str(number): name for number, name in enumerate(self.channels)},
            "labels": {str(value): name for value, name in enumerate(self.mark.label_names)},
            **entries,
            OWN_KEY: self.mark.record,
        }
        return {self.sign: content}

    def _entries(self, placed: Sequence[ExportTask], subset: str) -> list[dict[str, Any]]:
        entries = []
        for task in (task for task in placed if task.subset == subset):
            images = [path_from(self.base, path) for path in task.images]
            entry: dict[str, Any] = {"id": task.name}
            entry["image"] = images if len(images) > 1 else images[0]
            if task.label is not None:
                entry["label"] = path_from(self.base, task.label)
            if self.mark.split_name:
                entry["part"] = self.part_of(task)
            entries.append(entry)
        return entries
