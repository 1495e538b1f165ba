"""amos-dask: from the AMOS22 download to a clean, organised, verified dataset, on Dask.

Everything public is here and is imported when it is first used::

    import amos_dask

    if __name__ == "__main__":  # workers are processes of their own; not needed in a notebook
        result = amos_dask.run("data/AMOS22", archive="downloads/amos22.zip")
        result.dataset_manifest  # a pandas frame, as written to grouped/dataset_manifest.xlsx
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from amos_dask.version import __version__ as __version__

_HOMES = {
    "download": "amos_dask.pipeline.download",
    "run": "amos_dask.pipeline.run",
    "plan_run": "amos_dask.pipeline.run",
    "verify": "amos_dask.pipeline.verify",
    "demo": "amos_dask.pipeline.demo",
    "stats": "amos_dask.pipeline.statistics",
    "make_report": "amos_dask.pipeline.report",
    "archive_manifest": "amos_dask.pipeline.from_archive",
    "confirm_pairs": "amos_dask.pipeline.from_archive",
    "split_prostate_uterus": "amos_dask.pipeline.organised",
    "binary_masks": "amos_dask.pipeline.organised",
    "small_regions": "amos_dask.pipeline.organised",
    "denoise": "amos_dask.pipeline.denoising",
    "restore": "amos_dask.pipeline.denoising",
    "dataset_manifest": "amos_dask.pipeline.manifests",
    "make_split": "amos_dask.pipeline.splits",
    "index_manifests": "amos_dask.pipeline.splits",
    "leaks": "amos_dask.pipeline.leaks",
    "export_nnunet": "amos_dask.pipeline.export",
    "export_monai": "amos_dask.pipeline.export",
    "AMOS": "amos_dask.loader",
    "check_cluster": "amos_dask.pipeline.check",
    "ClusterReport": "amos_dask.pipeline.check",
    "CommandResult": "amos_dask.pipeline.results",
    "RunPlan": "amos_dask.pipeline.results",
    "RunResult": "amos_dask.pipeline.results",
    "Selection": "amos_dask.pipeline.selection",
    "ClusterOptions": "amos_dask.cluster",
    "write_archive": "amos_dask.phantom",
    "AmosDaskError": "amos_dask.errors",
    "ExitCode": "amos_dask.errors",
    "Issue": "amos_dask.issues",
}

if TYPE_CHECKING:
    from amos_dask.cluster import ClusterOptions
    from amos_dask.errors import AmosDaskError, ExitCode
    from amos_dask.issues import Issue
    from amos_dask.loader import AMOS
    from amos_dask.phantom import write_archive
    from amos_dask.pipeline.check import ClusterReport, check_cluster
    from amos_dask.pipeline.demo import demo
    from amos_dask.pipeline.denoising import denoise, restore
    from amos_dask.pipeline.download import download
    from amos_dask.pipeline.export import export_monai, export_nnunet
    from amos_dask.pipeline.from_archive import archive_manifest, confirm_pairs
    from amos_dask.pipeline.leaks import leaks
    from amos_dask.pipeline.manifests import dataset_manifest
    from amos_dask.pipeline.organised import (
        binary_masks,
        small_regions,
        split_prostate_uterus,
    )
    from amos_dask.pipeline.report import make_report
    from amos_dask.pipeline.results import CommandResult, RunPlan, RunResult
    from amos_dask.pipeline.run import plan_run, run
    from amos_dask.pipeline.selection import Selection
    from amos_dask.pipeline.splits import index_manifests, make_split
    from amos_dask.pipeline.statistics import stats
    from amos_dask.pipeline.verify import verify

__all__ = [
    "AMOS",
    "AmosDaskError",
    "ClusterOptions",
    "ClusterReport",
    "CommandResult",
    "ExitCode",
    "Issue",
    "RunPlan",
    "RunResult",
    "Selection",
    "archive_manifest",
    "binary_masks",
    "check_cluster",
    "confirm_pairs",
    "dataset_manifest",
    "demo",
    "denoise",
    "download",
    "export_monai",
    "export_nnunet",
    "index_manifests",
    "leaks",
    "make_report",
    "make_split",
    "plan_run",
    "restore",
    "run",
    "small_regions",
    "split_prostate_uterus",
    "stats",
    "verify",
    "write_archive",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
