"""What the functions of the API return: frames for notebooks, and what the closing lines say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from amos_dask.errors import ExitCode
from amos_dask.issues import Issue


@dataclass(frozen=True)
class CommandResult:
    """How a command ended.

    Parameters
    ----------
    outputs : tuple of Path
        Files, or the folder of many files, that were written.
    n_samples : int
        Samples or files looked at.
    summary : str
        One line for people.
    issues : tuple of Issue
        What this command found.
    frame : DataFrame or None
        The main table, where the command makes one.
    """

    outputs: tuple[Path, ...]
    n_samples: int
    summary: str
    issues: tuple[Issue, ...] = ()
    frame: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def exit_code(self) -> ExitCode:
        """``SAMPLES_FAILED`` exactly when there is an error among the issues."""
        return exit_code(self.issues)


@dataclass(frozen=True)
class RunResult:
    """How `run` ended.

    Parameters
    ----------
    root_dir : Path
        ROOT_DIR.
    archive_manifest, dataset_manifest : DataFrame
        The manifests as written; the dataset's covers CT and MR.
    regions_before, regions_after : mapping of float to DataFrame
        Threshold in mm3 -> worksheet ``Regions`` before and after denoising.
    issues : tuple of Issue
        All issues of ROOT_DIR.
    n_processed, n_failed : int
        Samples of this run, and how many of them have an error.
    n_failed_others : int
        Samples not chosen in this run that have an error from before.
    n_changed_voxels : int
        Voxels that denoising changed.
    seconds : float
        Wall time.
    outputs : tuple of Path
        The manifests.
    """

    root_dir: Path
    archive_manifest: pd.DataFrame = field(repr=False)
    dataset_manifest: pd.DataFrame = field(repr=False)
    regions_before: Mapping[float, pd.DataFrame] = field(repr=False)
    regions_after: Mapping[float, pd.DataFrame] = field(repr=False)
    issues: tuple[Issue, ...] = field(repr=False)
    n_processed: int
    n_failed: int
    n_failed_others: int
    n_changed_voxels: int
    seconds: float
    outputs: tuple[Path, ...]

    @property
    def exit_code(self) -> ExitCode:
        """``SAMPLES_FAILED`` exactly when there is an error among the issues."""
        return exit_code(self.issues)


@dataclass(frozen=True)
class RunPlan:
    """What `run` would do (``dry_run=True``).

    Parameters
    ----------
    root_dir : Path
        ROOT_DIR.
    archive : str
        Where it reads.
    samples : DataFrame
        A row a sample: ID, subset, modality, bytes to read, folder to write.
    """

    root_dir: Path
    archive: str
    samples: pd.DataFrame = field(repr=False)


def exit_code(issues: Iterable[Issue]) -> ExitCode:
    """Return the exit code that issues call for."""
    if any(issue.severity == "error" for issue in issues):
        return ExitCode.SAMPLES_FAILED
    return ExitCode.DONE
