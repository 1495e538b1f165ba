"""``export``: organised samples for nnU-Net v2 and for MONAI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amos_dask.engine.events import Listener
from amos_dask.export import monai, nnunet
from amos_dask.export.files import (
    claim_folder,
    is_ours,
    remove_if_only_marked,
    remove_others,
    require_link,
    to_json,
)
from amos_dask.export.scans import export_scans, prepare
from amos_dask.results import CommandResult
from amos_dask.root.layout import absolute
from amos_dask.root.staging import Staging, remove_if_empty, write_text
from amos_dask.sample.selection import EVERYTHING, Selection


def export_nnunet(
    root_dir: str | Path,
    directory: str | Path,
    *,
    dataset_id: int | None = None,
    link: str = "auto",
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as a dataset of nnU-Net v2.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    directory : str or Path
        ``nnUNet_raw``; the dataset becomes ``DatasetXXX_AMOS22``, ``…_AMOS22CT`` or ``…_AMOS22MR``
        in it, or such as ``DatasetXXX_Spleen`` for other datasets. An earlier export there is
        replaced, anything else never.
    dataset_id : int, optional
        Its number; by default 622, 623 for CT alone, 624 for MR alone; needed for other datasets.
    link : {"auto", "hard", "symbolic", "copy"}
        How volumes and unchanged masks get there. ``auto``: hard links where the file system
        allows them, else symbolic links.
    merge_prostate_uterus : bool
        One label for both, as in the archive.
    mr_without_14_16 : bool
        Leave bladder, prostate and uterus out of MR masks, as the tutorial advises.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    selection : Selection
        Choice of samples, such as one modality.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, or the place is taken.
    """
    require_link(link)
    request = prepare(
        root_dir, label_explanation, selection, merge_prostate_uterus, mr_without_14_16
    )
    target = absolute(directory)
    request.require_outside_archive(target)
    dataset = nnunet.plan_dataset(target, request.layout.dataset, request.modalities, dataset_id)
    claim_folder(dataset.folder, request.record)
    tasks = [
        scan.task(
            request,
            image=dataset.image(scan.sample_id, scan.subset),
            label=dataset.label(scan.sample_id, scan.subset),
            link=link,
        )
        for scan in request.scans
    ]
    outputs = (dataset.folder,)
    done = export_scans(request, tasks, dataset.dataset_json, outputs, cluster, progress)
    for folder in dataset.folders:
        remove_others(folder, done.files, request.layout.dataset.prefix)
    remove_if_empty(dataset.folder / "labelsTs")
    train, val = done.ids("train"), done.ids("val")
    content = nnunet.dataset_json(dataset, request.labels, len(train) + len(val), request.record)
    with Staging() as staging:
        if train and val:
            staging.write_text(dataset.splits, to_json(nnunet.splits_final(train, val)))
        else:  # nnU-Net makes folds of its own
            dataset.splits.unlink(missing_ok=True)
        staging.write_text(dataset.dataset_json, to_json(content))
        staging.publish(last=dataset.dataset_json)
    return done.result(dataset.folder)


def export_monai(
    root_dir: str | Path,
    file: str | Path,
    *,
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as a datalist of MONAI, with fold keys.

    Volumes, and masks whose values stay as they are, are listed where they lie; changed masks are
    written to ``{file's stem}_labels`` beside the datalist.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    file : str or Path
        The datalist (JSON). An earlier export is replaced, anything else never.
    merge_prostate_uterus, mr_without_14_16, label_explanation, selection, cluster, progress
        As for `export_nnunet`.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When there are no samples to train on, or the place is taken.
    """
    request = prepare(
        root_dir, label_explanation, selection, merge_prostate_uterus, mr_without_14_16
    )
    target = absolute(file)
    request.require_outside_archive(target)
    monai.require_own(target)
    masks = monai.labels_folder(target)
    if not request.labels.is_as_stored:
        claim_folder(masks, request.record)
    tasks = [
        scan.task(request, image=None, label=masks / f"{scan.sample_id}.nii.gz")
        for scan in request.scans
    ]
    outputs = () if request.labels.is_as_stored else (masks,)
    done = export_scans(request, tasks, target, outputs, cluster, progress)
    if is_ours(masks):  # also of an earlier export whose masks changed
        remove_others(masks, done.files, request.layout.dataset.prefix)
        if request.labels.is_as_stored:
            remove_if_only_marked(masks)
    samples = [(scan.subset, found) for scan, found in done.placed]
    content = monai.datalist(
        target,
        samples,
        request.layout.dataset,
        request.modalities,
        request.labels,
        request.record,
    )
    write_text(target, to_json(content))
    return done.result(target)
