"""The form of arrays to train on: turned, resampled, cut out, scaled; a record with each sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from amos_dask import geometry
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.export.files import OWN_KEY, ExportTask, Placing
from amos_dask.export.make_arrays import Making, make_arrays
from amos_dask.export.resampling import plan_grid
from amos_dask.export.update import Form, export
from amos_dask.export.wanted import asked_for
from amos_dask.params import ArraySettings
from amos_dask.records import StepResult
from amos_dask.results import CommandResult
from amos_dask.root.choices import require_no_archive
from amos_dask.root.export_mark import ExportMark
from amos_dask.root.layout import Layout, absolute
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.source import CANNOT_BE_READ

_LARGEST = 1 << 31  # voxels of one array
# What a sample's file is called after its id; of NIfTI each image is a file.
_ENDINGS = {"npz": ".npz", "zarr": ".zarr.zip"}


def export_arrays(
    root_dir: str | Path,
    directory: str | Path,
    *,
    orientation: str | None = None,
    spacing: Sequence[float] | str | None = None,
    interpolation: str = "linear",
    window: Sequence[float] | None = None,
    percentiles: Sequence[float] | None = None,
    crop: str | None = None,
    margin: float = 10.0,
    form: str = "nifti",
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
    """Export organised samples as arrays to train on: turned, resampled, cut out, scaled.

    The first voxel of a resampled grid is where the scan's is, as in MONAI's ``Spacing``, and
    nothing is smoothed before. A mask's voxel gets the label with the largest share there: each
    label's binary mask is interpolated linearly. Made in the order of the parameters below.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    directory : str or Path
        Gets ``train``, ``val`` and ``test``, in which each sample has its files and a record
        (JSON), and ``arrays.json``, which lists them. An earlier export there is brought up to
        date; files in it that are not as it wrote them stay.
    orientation : str, optional
        Where the axes are to point to, such as ``RAS``; by default as the scan is stored.
    spacing : (float, float, float) or "median", optional
        Voxel size in mm along these axes; ``median`` is that of the chosen scans with labels.
    interpolation : {"linear", "cubic"}
        How volumes are resampled.
    window : (float, float), optional
        Values that become 0 and 1; what is outside becomes 0 or 1 as well.
    percentiles : (float, float), optional
        The same with percentiles of each channel of each scan, before it is resampled.
    crop : {"body", "labels"}, optional
        Cut out the box of the body (largest connected region above -500 HU, in other than CT above
        the mean) or of all labels above 0. A scan without them stays whole.
    margin : float
        Millimetres that a crop leaves around it.
    form : {"nifti", "npz", "zarr"}
        Files: ``.nii.gz`` under the names of ROOT_DIR; or one ``.npz`` or ``.zarr.zip`` a sample
        with ``volume`` (float32; (x, y, z), or (channel, x, y, z) of several), ``mask`` (uint8),
        ``affine`` (voxel index to RAS+ mm) and ``label_names``.
    merge_prostate_uterus, mr_without_14_16, label_explanation, split_name, selection
        As for `export_nnunet`; the parts of a split are told in ``arrays.json``.
    adopt, no_lock, cluster, progress
        As for `export_nnunet`.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When settings cannot be used, the extra ``amos-dask[zarr]`` is missing, there are no samples
        to train on, or the place is taken, in an archive, or has not enough room.

    Examples
    --------
    >>> result = amos_dask.export_arrays(
    ...     "data/AMOS22", "arrays", orientation="RAS", spacing=(3, 3, 5), progress="none"
    ... )
    >>> result.summary.partition(";")[0]
    '5 training, 3 validation and 4 test scans'
    """
    if isinstance(spacing, str) and spacing != "median":
        raise AmosDaskError(f"spacing must be three sizes in mm, or median, not {spacing!r}.")
    is_median = isinstance(spacing, str)
    settings = ArraySettings(
        form=form,
        orientation=orientation and orientation.upper(),
        spacing_mm=None if is_median else _numbers(spacing),
        is_median=is_median,
        interpolation=interpolation,
        window=_numbers(window),
        percentiles=_numbers(percentiles),
        crop=crop,
        margin_mm=float(margin) if crop else 0.0,  # without a crop it changes nothing
    )
    settings.require_valid()
    if settings.orientation is not None:
        try:
            geometry.pointing_to(settings.orientation)
        except ValueError as error:
            raise AmosDaskError(f"orientation {error}.") from error
    if form == "zarr" and find_spec("zarr") is None:
        needs = "zarr files need zarr: pip install 'amos-dask[zarr]', also on the workers."
        raise AmosDaskError(needs)
    labels = label_explanation, merge_prostate_uterus, mr_without_14_16, split_name
    asked = replace(asked_for("arrays", root_dir, selection, *labels), arrays=settings)
    plan = partial(_plan_arrays, base=absolute(directory))
    return export(asked, plan, adopt=adopt, no_lock=no_lock, cluster=cluster, progress=progress)


def _numbers(values: Any) -> Any:
    return None if values is None else tuple(map(float, values))


def _plan_arrays(mark: ExportMark, layout: Layout, base: Path) -> Form:
    """Return where the arrays are to be; raise where that is in an archive."""
    require_no_archive(layout, base)
    return _Arrays(mark, layout.dataset, base, base / "arrays.json")


class _Arrays(Form):
    copies = False

    @property
    def settings(self) -> ArraySettings:
        """How arrays are made."""
        return self.mark.arrays or ArraySettings()

    @property
    def making(self) -> Making:
        """The same with what the records say besides."""
        return Making(self.settings, self.mark.label_names, self.channels)

    def make(self) -> Callable[[ExportTask], StepResult[Placing]]:
        """Return what makes a sample's files."""
        return partial(make_arrays, making=self.making)

    def place(self, task: ExportTask) -> ExportTask:
        """Give a sample its places in the folder of its subset."""
        folder, form = self.base / task.subset, self.settings.form
        if form == "nifti":
            images = tuple(folder / path.name for path in task.folder.volumes)
            label = folder / task.folder.mask.name
        else:
            label = folder / f"{task.name}{_ENDINGS[form]}"
            images = (label,)
        record = folder / f"{task.name}.json"
        return replace(task, images=images, label=label, others=(record,))

    def sizes(self, tasks: Iterable[ExportTask]) -> list[int]:
        """Return at most how many bytes each sample takes that is to be made; none with a crop."""
        settings, sizes = self.settings, []
        for task in tasks:
            with suppress(*CANNOT_BE_READ):  # which is said of the sample
                info = task.read_header(task.folder.volume)
                if not geometry.is_usable(info.affine):
                    continue
                grid = plan_grid(info.shape, info.affine, settings.orientation, settings.spacing_mm)
                if (n_voxels := math.prod(grid.shape)) > _LARGEST:
                    told = "x".join(map(str, grid.shape))
                    raise AmosDaskError(
                        f"{task.name}: {told} voxels are too many; give larger ones."
                    )
                if settings.crop is None and self.making.find_record(task) is None:
                    sizes.append(n_voxels * (4 * len(self.channels) + 1))
        return sizes

    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        """Return the list of samples; paths are relative to its folder."""
        content = {
            **self.describe(self.dataset.name),
            "settings": asdict(self.settings),
            "channels": list(self.channels),
            "labels": {str(value): name for value, name in enumerate(self.mark.label_names)},
            "samples": [self._entry(task) for task in placed],
            OWN_KEY: self.mark.record,
        }
        return {self.sign: content}

    def _entry(self, task: ExportTask) -> Mapping[str, Any]:
        images = [path.relative_to(self.base).as_posix() for path in task.images]
        return {
            "id": task.name,
            "subset": task.subset,
            "part": self.part_of(task),
            "modality": task.modality,
            "image": images[0] if len(images) == 1 else images,
            "label": task.label and task.label.relative_to(self.base).as_posix(),
            "record": task.others[0].relative_to(self.base).as_posix(),
        }

    def remark(self, placed: Sequence[ExportTask]) -> str:
        """Say how many scans a crop to labels has left whole."""
        n_whole = sum(task.label is None for task in placed)
        is_said = self.settings.crop == "labels" and n_whole
        return f"{n_whole} without labels are not cropped" if is_said else ""
