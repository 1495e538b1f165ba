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
    name: f"amos_dask.{module}"
    for module, names in {
        "download": "download",
        "run": "run",
        "dry_run": "plan_run",
        "verify": "verify",
        "demo": "demo",
        "datasets": "list_datasets dataset_yaml",
        "statistics.stats": "stats",
        "report.make_report": "make_report",
        "commands.organise": "archive_manifest confirm_pairs dataset_manifest",
        "commands.single_steps": "split_prostate_uterus binary_masks small_regions denoise restore",
        "commands.make_split": "make_split index_manifests",
        "leaks": "leaks",
        "card": "card",
        "export.arrays": "export_arrays",
        "export.programs": "export_nnunet export_monai",
        "loader": "AMOS",
        "cluster_check": "check_cluster ClusterReport",
        "results": "CommandResult RunPlan RunResult",
        "sample.selection": "Selection",
        "engine.options": "ClusterOptions",
        "phantom": "write_archive",
        "errors": "AmosDaskError ExitCode",
        "issues": "Issue",
    }.items()
    for name in names.split()
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:  # what type checkers see; `as` says that it is for others
    from amos_dask.card import card as card
    from amos_dask.cluster_check import ClusterReport as ClusterReport
    from amos_dask.cluster_check import check_cluster as check_cluster
    from amos_dask.commands.make_split import index_manifests as index_manifests
    from amos_dask.commands.make_split import make_split as make_split
    from amos_dask.commands.organise import archive_manifest as archive_manifest
    from amos_dask.commands.organise import confirm_pairs as confirm_pairs
    from amos_dask.commands.organise import dataset_manifest as dataset_manifest
    from amos_dask.commands.single_steps import binary_masks as binary_masks
    from amos_dask.commands.single_steps import denoise as denoise
    from amos_dask.commands.single_steps import restore as restore
    from amos_dask.commands.single_steps import small_regions as small_regions
    from amos_dask.commands.single_steps import split_prostate_uterus as split_prostate_uterus
    from amos_dask.datasets import dataset_yaml as dataset_yaml
    from amos_dask.datasets import list_datasets as list_datasets
    from amos_dask.demo import demo as demo
    from amos_dask.download import download as download
    from amos_dask.dry_run import plan_run as plan_run
    from amos_dask.engine.options import ClusterOptions as ClusterOptions
    from amos_dask.errors import AmosDaskError as AmosDaskError
    from amos_dask.errors import ExitCode as ExitCode
    from amos_dask.export.arrays import export_arrays as export_arrays
    from amos_dask.export.programs import export_monai as export_monai
    from amos_dask.export.programs import export_nnunet as export_nnunet
    from amos_dask.issues import Issue as Issue
    from amos_dask.leaks import leaks as leaks
    from amos_dask.loader import AMOS as AMOS
    from amos_dask.phantom import write_archive as write_archive
    from amos_dask.report.make_report import make_report as make_report
    from amos_dask.results import CommandResult as CommandResult
    from amos_dask.results import RunPlan as RunPlan
    from amos_dask.results import RunResult as RunResult
    from amos_dask.run import run as run
    from amos_dask.sample.selection import Selection as Selection
    from amos_dask.statistics.stats import stats as stats
    from amos_dask.verify import verify as verify


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
