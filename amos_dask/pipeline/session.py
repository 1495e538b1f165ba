"""What every function of the API shares: a client, progress, issues of failed tasks, the log."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from amos_dask.archive.sources import is_url, is_zip
from amos_dask.cluster import ClusterOptions, connect
from amos_dask.errors import AmosDaskError
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import DEFAULT_LABEL_MAP, LabelMap, read_label_map
from amos_dask.progress import STYLES, Listener, report_to
from amos_dask.records import Notice, Outcome, Step, StepResult
from amos_dask.store.issue_log import IssueLog
from amos_dask.store.layout import Layout, SampleFolder, find_sample_folders
from amos_dask.store.staging import write_text
from amos_dask.tables.manifests import issues_frame
from amos_dask.tables.workbook import write_workbook

if TYPE_CHECKING:
    from amos_dask.graph import Item

Value = TypeVar("Value")
_SECONDS_BEFORE_COMPILING_IS_SAID = 1.5


@dataclass(frozen=True)
class Session:
    """A connected client and who listens to progress.

    Parameters
    ----------
    client : distributed.Client
        Where tasks run.
    listener : callable
        Is told every event.
    """

    client: Any
    listener: Listener

    def map(
        self,
        phase: str,
        function: Callable[[Item], Value],
        items: Sequence[Item],
    ) -> Iterator[Outcome[Value]]:
        """Yield the outcomes of ``function`` over the items as they finish."""
        from amos_dask.graph import run_tasks

        return run_tasks(self.client, phase, function, items, self.listener, _count_issues)

    def prepare_kernels(self) -> None:
        """Compile the kernels on one worker of each host, so that the others load them."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        one_per_host = {info["host"]: address for address, info in workers.items()}
        futures = [
            self.client.submit(_warm_up, key=f"prepare-kernels-{host}", workers=[address])
            for host, address in one_per_host.items()
        ]
        for future in futures:
            try:
                future.result(timeout=_SECONDS_BEFORE_COMPILING_IS_SAID)
            except TimeoutError:
                self.listener(Notice("compiling kernels (once per machine, about 15 s)"))
                future.result()


def _warm_up() -> None:
    from amos_dask.kernels import warm_up

    warm_up()


def _count_issues(value: Any) -> int:
    return len(value.issues)


@contextmanager
def open_session(cluster: Any, progress: str | Listener) -> Iterator[Session]:
    """Yield a session on a cluster, starting and stopping a local one where none is given.

    Parameters
    ----------
    cluster : ClusterOptions, distributed.Client, str or None
        Options, a connected client, a scheduler's address, or None for a local cluster.
    progress : {"auto", "bar", "plain", "json", "none"} or callable
        How to show progress on stderr (``json``: on stdout), or who listens.
    """
    with ExitStack() as stack:
        if callable(progress):
            listener = progress
        elif progress not in STYLES:
            raise AmosDaskError(f"progress {progress!r} is not known; choose from {STYLES}.")
        else:
            stream = sys.stdout if progress == "json" else sys.stderr
            listener = stack.enter_context(report_to(stream, progress))
        if cluster is None or isinstance(cluster, (ClusterOptions, str)):
            options = ClusterOptions(cluster) if isinstance(cluster, str) else cluster
            client = stack.enter_context(connect(options or ClusterOptions()))
        else:
            client = cluster
        listener(Notice(f"dashboard: {client.dashboard_link}"))
        yield Session(client, listener)


def find_label_map(layout: Layout, label_explanation: str | Path | None) -> LabelMap:
    """Return the label map: the file given, else ROOT's ``label_map.yaml``, else AMOS22's."""
    if label_explanation is not None:
        return read_label_map(Path(label_explanation))
    if layout.label_map.exists():
        return read_label_map(layout.label_map)
    return DEFAULT_LABEL_MAP


def keep_label_map(layout: Layout, label_map: LabelMap, *, replace: bool = False) -> None:
    """Write ROOT's ``label_map.yaml`` where it is absent, or is to be replaced."""
    if replace or not layout.label_map.exists():
        write_text(layout.label_map, label_map.to_yaml())


def require_threshold(name: str, value: float) -> float:
    """Return a threshold as a float; raise unless it is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise AmosDaskError(f"{name} must be a finite number of at least 0, not {value}.")
    return float(value)


def require_kernel(kernel_size: Sequence[int], filter_halfedge: int) -> tuple[tuple[int, int], int]:
    """Return kernel size and half-edge as whole numbers; raise when they cannot be used."""
    sizes = [int(size) for size in kernel_size]
    if len(sizes) != 2 or min(sizes) < 1:
        raise AmosDaskError(f"kernel_size must be two sizes of at least 1, not {kernel_size}.")
    if int(filter_halfedge) < 0:
        raise AmosDaskError(f"filter_halfedge must be at least 0, not {filter_halfedge}.")
    return (sizes[0], sizes[1]), int(filter_halfedge)


def require_outside_archive(path: Path, archive: str) -> None:
    """Raise when an output would lie inside the archive, which is never written to."""
    if is_url(archive) or is_zip(archive):
        return
    inside, outside = Path(os.path.realpath(path)), Path(os.path.realpath(archive))
    if inside.is_relative_to(outside):
        raise AmosDaskError(f"{path} lies inside the archive {archive}; write somewhere else.")


def require_sample_folders(root_dir: Path) -> list[SampleFolder]:
    """Return the organised samples below a folder; raise when there are none."""
    folders = find_sample_folders(root_dir)
    if not folders:
        raise AmosDaskError(
            f"{root_dir}: no sample folders (amos_XXXX_*) here; run confirm-pairs first."
        )
    return folders


def failure_issue(outcome: Outcome[Any]) -> Issue:
    """Return the issue of a task that failed outside the data's own errors."""
    return make_issue(
        "sample_failed",
        outcome.failure or "failed",
        sample=outcome.name,
        action="tried again next run",
    )


def step_results(outcomes: Iterable[Outcome[StepResult[Value]]]) -> list[StepResult[Value]]:
    """Return the results sorted by sample; a failed task becomes a result with an issue."""
    results = [
        StepResult(outcome.name, None, (failure_issue(outcome),))
        if outcome.value is None
        else outcome.value
        for outcome in outcomes
    ]
    return sorted(results, key=lambda result: sample_number(result.sample_id))


def sample_number(sample_id: str) -> int:
    """Return the number of ``amos_0004``, by which tables are sorted."""
    return int(sample_id.removeprefix("amos_"))


def issue_log(layout: Layout) -> IssueLog:
    """Return ROOT's log of issues by step."""
    return IssueLog(layout.issue_log)


def record_issues(
    layout: Layout,
    step: Step,
    issues: Iterable[Issue],
    samples: Collection[str] | None = None,
    scope: str = "",
) -> None:
    """Replace a step's issues and write issues.xlsx and issues.jsonl."""
    issue_log(layout).replace(step, issues, samples, scope)
    write_issues(layout)


def write_issues(layout: Layout) -> tuple[Issue, ...]:
    """Write issues.xlsx and issues.jsonl from the log; return all issues."""
    issues = tuple(issue_log(layout).all())
    write_workbook(layout.descriptor / "issues.xlsx", {"Issues": issues_frame(issues)})
    lines = [json.dumps(asdict(issue), ensure_ascii=False) + "\n" for issue in issues]
    write_text(layout.descriptor / "issues.jsonl", "".join(lines))
    return issues
