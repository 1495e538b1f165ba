"""The steps, one by one: the tutorial's, and ``restore``, which undoes one."""

from __future__ import annotations

from typing import Any

import click
from click import Choice, FloatRange, IntRange, option

import amos_dask
from amos_dask.cli import shared_options as opt
from amos_dask.cli.show import close_command


@opt.command(
    "--root_dir AMOS22/archive --output_manifest_file AMOS22/descriptor/archive_manifest.xlsx"
)
@opt.archive_root
@opt.output_manifest_file
@opt.dataset
@opt.labeled_data_meta
@option("--sheet_name", default="Manifest", show_default=True, help="Worksheet to write.")
@opt.mr_metadata_offset
@opt.writing
def archive_manifest(**arguments: Any) -> int:
    """01: list every file with geometry and metadata."""
    return close_command(amos_dask.archive_manifest(**arguments), arguments)


@opt.command(
    "--modality ct --root_dir AMOS22/archive --output_dir AMOS22/grouped/AMOS-CT "
    "--archive_manifest AMOS22/descriptor/archive_manifest.xlsx"
)
@option("--modality", required=True, type=opt.Modality(), help="Which samples.")
@opt.archive_root
@option("--output_dir", required=True, type=opt.FOLDER, help="Such as grouped/AMOS-CT.")
@option("--archive_manifest", required=True, type=opt.FILE, help="Workbook of archive-manifest.")
@opt.selection_of_modality
@opt.writing
def confirm_pairs(**arguments: Any) -> int:
    """02: write volumes and masks with one geometry.

    Samples go to OUTPUT_DIR/{train,val,test}/{scanner}/{ID}_{sex}: a float32 volume, a uint8 mask
    that takes its volume's geometry, and an info file.
    """
    return close_command(amos_dask.confirm_pairs(**arguments), arguments)


@opt.command("--root_dir AMOS22/grouped")
@opt.root_dir
@opt.selection
@opt.working
def split_prostate_uterus(**arguments: Any) -> int:
    """03: label 15 of female patients becomes 16.

    Masks are replaced in place; running it again changes nothing.
    """
    return close_command(amos_dask.split_prostate_uterus(**arguments), arguments)


@opt.command("--root_dir AMOS22/grouped --label_explanation AMOS22/descriptor/label_map.yaml")
@opt.root_dir
@opt.label_explanation
@opt.selection
@opt.working
def binary_masks(**arguments: Any) -> int:
    """04: write a binary mask for each label."""
    return close_command(amos_dask.binary_masks(**arguments), arguments)


@opt.command(
    "--root_dir AMOS22/grouped --region_volume_thresh 100.0 --output_manifest "
    "AMOS22/descriptor/small_connected_region_100_manifest.xlsx"
)
@opt.root_dir
@option(
    "--region_volume_thresh",
    required=True,
    type=FloatRange(0),
    metavar="MM3",
    help="List regions smaller than this.",
)
@option("--output_manifest", required=True, type=opt.FILE, help="Workbook to write.")
@opt.label_explanation
@opt.selection
@opt.writing
def small_regions(**arguments: Any) -> int:
    """List small connected regions of every label.

    Worksheet Manifest has a row a sample with entries (x,y,z,mm3), worksheet Regions a row a
    region.
    """
    return close_command(amos_dask.small_regions(**arguments), arguments)


@opt.command(
    "--root_dir AMOS22/grouped --output_dir AMOS22/grouped --kernel_size 5 5 "
    "--filter_halfedge 3 --region_area_thresh 10.0"
)
@opt.root_dir
@option(
    "--output_dir",
    required=True,
    type=opt.FOLDER,
    help="The same folder to work in place, or another for masks only.",
)
@opt.denoise_parameters
@opt.label_explanation
@opt.selection
@opt.writing
def denoise(**arguments: Any) -> int:
    """Remove islands and fill pinholes on slices.

    Binary masks are rewritten with the mask. A mask that was denoised with the same parameters is
    left as it is; with others, the undenoised mask is restored first. In place, what was changed is
    listed in ROOT's descriptor/denoise_changes.xlsx.

    --exclude names a csv file of what is left exactly as it was: a first line 'sample,label', then
    lines such as 'amos_0004,' (a whole sample), 'amos_0507,bladder' or ',15' (in all samples).
    """
    return close_command(amos_dask.denoise(**arguments), arguments)


@opt.command("--root_dir AMOS22/grouped --ids 4,507")
@opt.root_dir
@opt.selection
@opt.working
def restore(**arguments: Any) -> int:
    """Undo denoising: masks as they were before.

    Mask and binary masks get back every voxel; without --ids and the like, those of all samples.
    The next 'run' denoises them again, unless ROOT's descriptor/denoise_exclude.csv excludes them:
    see 'denoise --help'.
    """
    return close_command(amos_dask.restore(**arguments), arguments)


@opt.command(
    "--root_dir AMOS22/grouped --output_manifest_file AMOS22/grouped/dataset_manifest.xlsx"
)
@opt.root_dir
@opt.output_manifest_file
@opt.label_explanation
@opt.writing
def dataset_manifest(**arguments: Any) -> int:
    """05: check and index all samples.

    Any inconsistency between the files of a sample is listed, and nothing is written then.
    """
    return close_command(amos_dask.dataset_manifest(**arguments), arguments)


@opt.command(
    "--manifest_file AMOS22/grouped/dataset_manifest.xlsx --kind kfold --folds 5 --seed 0 "
    "--stratify scanner,sex,modality --group patient"
)
@option("--manifest_file", required=True, type=opt.FILE, help="Workbook of dataset-manifest.")
@option(
    "--split_name",
    help="Worksheet of the split; default: split01_standard, for others the one made in the same "
    "way before, else the next free number, such as split02_kfold5.",
)
@option(
    "--kind",
    type=Choice(["official", "kfold", "holdout"]),
    default="official",
    show_default=True,
    help="What to make; the options below are for kfold and holdout.",
)
@option("--folds", type=IntRange(2), help="Of kfold: how many.  [default: 5]")
@option(
    "--fractions",
    metavar="X,Y[,Z]",
    type=opt.comma_separated(float),
    help="Of holdout: train,val or train,val,test.  [default: 0.7,0.1,0.2]",
)
@option("--seed", type=int, help="Another seed, another split.  [default: 0]")
@option(
    "--stratify",
    metavar="scanner,sex,modality",
    default="",
    type=opt.comma_separated(Choice(["scanner", "sex", "modality"])),
    help="Any of these: every part gets its share of each combination.",
)
@option("--group", type=Choice(["patient"]), help="Keep the scans of a patient together.")
@opt.flag("--unlabelled", help="Deal out the samples without masks as well.")
@opt.adopt
@opt.no_lock
def make_split(**arguments: Any) -> int:
    """06: add a split as a worksheet.

    The official one, or folds fold0, fold1, … for cross-validation (kfold), or train, val and test
    of your own (holdout), of the samples that have masks. The same samples and options give the
    same split anywhere; worksheet Splits says how it was made, with its SHA-256.

    Scans are of one patient when birth date and sex are known and the same, and so are the site or
    the day of the scan.
    """
    return close_command(amos_dask.make_split(**arguments), arguments)


@opt.command(
    "--manifest_file AMOS22/grouped/dataset_manifest.xlsx --split_name split01_standard "
    "--output_index_manifest_dir AMOS22/grouped/splits/split01_standard --subsets train "
    "val --subsets train --subsets val --subsets test",
    cls=opt.RepeatedValues,
)
@option("--manifest_file", required=True, type=opt.FILE, help="Workbook with the split.")
@option(
    "--split_name", default="split01_standard", show_default=True, help="Worksheet of the split."
)
@option("--output_index_manifest_dir", required=True, type=opt.FOLDER, help="Folder to write to.")
@option(
    "--subsets",
    required=True,
    multiple=True,
    metavar="SUBSET [SUBSET ...]",
    help="Subsets of one file; may be given several times.",
)
@opt.adopt
@opt.no_lock
def index_manifests(subsets: tuple[str, ...], **arguments: Any) -> int:
    """07: write a workbook for each set of subsets."""
    combinations = [[name for name in text.split(",") if name] for text in subsets]
    if not all(combinations):
        raise click.UsageError("--subsets needs at least one subset each time.")
    return close_command(amos_dask.index_manifests(subsets=combinations, **arguments), arguments)


# In the tutorial's order, as --help lists them.
ALL = (
    *(archive_manifest, confirm_pairs, split_prostate_uterus, binary_masks),
    *(small_regions, denoise, restore, dataset_manifest, make_split, index_manifests),
)
