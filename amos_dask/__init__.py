"""amos-dask: from the AMOS22 download to a clean, organised, verified dataset, on Dask.

Everything public is here and is imported when it is first used::

    import amos_dask

    if __name__ == "__main__":  # workers are processes of their own; not needed in a notebook
        result = amos_dask.run("data/AMOS22", archive="downloads/amos22.zip")
        result.dataset_manifest  # a pandas frame, as written to grouped/dataset_manifest.xlsx
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from amos_dask.version import __version__ as __version__

_HOMES = {
    "download": "amos_dask.download",
    "run": "amos_dask.run",
    "plan_run": "amos_dask.dry_run",
    "verify": "amos_dask.verify",
    "demo": "amos_dask.demo",
    "list_datasets": "amos_dask.known_datasets",
    "dataset_yaml": "amos_dask.known_datasets",
    "stats": "amos_dask.statistics.stats",
    "make_report": "amos_dask.report.make_report",
    "archive_manifest": "amos_dask.commands.from_archive",
    "confirm_pairs": "amos_dask.commands.from_archive",
    "split_prostate_uterus": "amos_dask.commands.single_steps",
    "binary_masks": "amos_dask.commands.single_steps",
    "small_regions": "amos_dask.commands.single_steps",
    "denoise": "amos_dask.commands.single_steps",
    "restore": "amos_dask.commands.single_steps",
    "dataset_manifest": "amos_dask.commands.dataset_manifest",
    "make_split": "amos_dask.commands.make_split",
    "index_manifests": "amos_dask.commands.make_split",
    "leaks": "amos_dask.leaks",
    "export_nnunet": "amos_dask.export.nnunet",
    "export_monai": "amos_dask.export.monai",
    "AMOS": "amos_dask.loader",
    "check_cluster": "amos_dask.cluster_check",
    "ClusterReport": "amos_dask.cluster_check",
    "CommandResult": "amos_dask.results",
    "RunPlan": "amos_dask.results",
    "RunResult": "amos_dask.results",
    "Selection": "amos_dask.sample.selection",
    "ClusterOptions": "amos_dask.engine.options",
    "write_archive": "amos_dask.phantom",
    "AmosDaskError": "amos_dask.errors",
    "ExitCode": "amos_dask.errors",
    "Issue": "amos_dask.issues",
}

if TYPE_CHECKING:
    from amos_dask.cluster_check import ClusterReport, check_cluster
    from amos_dask.commands.dataset_manifest import dataset_manifest
    from amos_dask.commands.from_archive import archive_manifest, confirm_pairs
    from amos_dask.commands.make_split import index_manifests, make_split
    from amos_dask.commands.single_steps import (
        binary_masks,
        denoise,
        restore,
        small_regions,
        split_prostate_uterus,
    )
    from amos_dask.demo import demo
    from amos_dask.download import download
    from amos_dask.dry_run import plan_run
    from amos_dask.engine.options import ClusterOptions
    from amos_dask.errors import AmosDaskError, ExitCode
    from amos_dask.export.monai import export_monai
    from amos_dask.export.nnunet import export_nnunet
    from amos_dask.issues import Issue
    from amos_dask.known_datasets import dataset_yaml, list_datasets
    from amos_dask.leaks import leaks
    from amos_dask.loader import AMOS
    from amos_dask.phantom import write_archive
    from amos_dask.report.make_report import make_report
    from amos_dask.results import CommandResult, RunPlan, RunResult
    from amos_dask.run import run
    from amos_dask.sample.selection import Selection
    from amos_dask.statistics.stats import stats
    from amos_dask.verify import verify

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
    "dataset_yaml",
    "demo",
    "denoise",
    "download",
    "export_monai",
    "export_nnunet",
    "index_manifests",
    "leaks",
    "list_datasets",
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


class _Package(ModuleType):
    """Keeps ``amos_dask.run`` the function, whoever imports the module of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
