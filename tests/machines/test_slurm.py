"""On a real Slurm: a run end to end, a job cancelled, a walltime that is too short."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
import yaml
from machines.mini_slurm import MiniSlurm, why_not
from required import missing
from roots import BARE, assert_same, contents, ct_archive, program

import amos_dask
from amos_dask.engine.options import load_defaults

pytestmark = [pytest.mark.integration, pytest.mark.slurm]
N_SCANS = 16
BATCH_SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm" / "run.sbatch"


@pytest.fixture(scope="module")
def slurm() -> Iterator[MiniSlurm]:
    """Two nodes with a core each."""
    reason = why_not()
    if reason is not None:
        missing("slurm", reason)
    pytest.importorskip("dask_jobqueue")
    # Not pytest's folder, which is private: munge wants one that others may enter.
    with (
        tempfile.TemporaryDirectory() as folder,
        MiniSlurm(Path(folder), nodes=2, cpus=1) as started,
    ):
        yield started


@dataclass(frozen=True)
class Place:
    """An archive, and the tree of a local run on it."""

    archive: Path
    expected: dict[str, Any]

    @property
    def bare(self) -> dict[str, Any]:
        """What is expected of a run without report and statistics."""
        more = ("descriptor/report", "descriptor/statistics")
        return {name: of for name, of in self.expected.items() if not name.startswith(more)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Place:
    """A zip of so many scans that something can happen meanwhile."""
    folder = tmp_path_factory.mktemp("archive")
    scans = ct_archive(folder / "scans", N_SCANS)
    archive = Path(shutil.make_archive(str(folder / "amos22"), "zip", scans))
    amos_dask.run(folder / "local", archive, cluster=cluster_address, progress="none")
    return Place(archive, contents(folder / "local"))


class Program:
    """The program on the Slurm, telling its events."""

    def __init__(self, slurm: MiniSlurm, place: Place, root: Path, *options: str) -> None:
        command = ["run", root, "--archive", place.archive, "--cluster", "slurm", "--workers", "2"]
        command += ["--memory", "1GB", "--queue", "debug", "--dashboard_port", "0", "--json"]
        configuration = {
            "DASK_AMOS_DASK__BATCH__INTERFACE": "lo",
            "DASK_AMOS_DASK__BATCH__LOG_DIRECTORY": str(slurm.folder / "logs"),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "amos_dask", *map(str, command), *options],
            env=os.environ | slurm.environment | configuration,
            stdout=subprocess.PIPE,
            text=True,
        )

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def wait_for_samples(self, count: int) -> None:
        """Return when so many samples have ended."""
        for event in self.events():
            count -= event["event"] == "TaskEnded" and event["phase"] == "sample"
            if count <= 0:
                return
        raise AssertionError("the run ended too early")

    def finish(self) -> int:
        with self.process:
            for _ in self.events():
                pass
        return self.process.returncode


def test_a_run_on_slurm_is_a_local_run(slurm: MiniSlurm, place: Place, tmp_path: Path) -> None:
    running = Program(slurm, place, tmp_path / "R", "--walltime", "00:20:00")
    assert running.finish() == 0
    assert_same(place.expected, contents(tmp_path / "R"))
    wait_until_empty(slurm)


def test_a_cancelled_job_is_replaced_and_nothing_is_lost(
    slurm: MiniSlurm, place: Place, tmp_path: Path
) -> None:
    running = Program(slurm, place, tmp_path / "R", "--walltime", "00:20:00", *BARE)
    running.wait_for_samples(2)
    job = slurm.running_jobs()[-1]
    suspend(job)
    slurm.command("scancel", "--full", "--signal=KILL", job)
    assert running.finish() == 0
    assert_same(place.bare, contents(tmp_path / "R"))
    wait_until_empty(slurm)


def test_a_job_that_reaches_its_walltime_in_the_middle_of_a_sample_is_replaced(
    slurm: MiniSlurm, place: Place, tmp_path: Path
) -> None:
    running = Program(slurm, place, tmp_path / "R", "--walltime", "00:20:00", *BARE)
    running.wait_for_samples(2)
    job = slurm.running_jobs()[-1]
    suspend(job)
    slurm.command("scontrol", "update", f"JobId={job}", "EndTime=now")
    assert running.finish() == 0
    assert "JobState=TIMEOUT" in slurm.command("scontrol", "show", "job", job)
    assert_same(place.bare, contents(tmp_path / "R"))
    wait_until_empty(slurm)


def suspend(job: str) -> None:
    """Have a job stay in the middle of what it does, however fast this machine is."""
    found = []
    for process in psutil.process_iter():  # this machine is all nodes
        with suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job:
                process.suspend()
                found.append(process)
    assert found


def test_the_batch_script_runs_the_client_as_a_job(
    slurm: MiniSlurm, place: Place, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    script = ["sbatch", "--parsable", "--mem=1500", f"--output={log}", str(BATCH_SCRIPT)]
    options = ["--workers", "1", "--memory", "1GB", "--walltime", "00:20:00", *BARE]
    other = tmp_path / "amos_dask"  # such as that of a checkout; the installed one is to be used
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('from the folder of submission')")
    folder = str(Path(sys.executable).parent)
    environment = {
        "PATH": os.pathsep.join([folder, slurm.environment["PATH"]]),
        "DASK_AMOS_DASK__BATCH__INTERFACE": "lo",
        "DASK_AMOS_DASK__BATCH__LOG_DIRECTORY": str(slurm.folder / "logs"),
    }
    done = subprocess.run(
        [*script, str(tmp_path / "R"), str(place.archive), *options],
        env=os.environ | slurm.environment | environment,
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until_empty(slurm, 120)  # sbatch's own --wait looks every ten seconds
    told = slurm.command("scontrol", "show", "job", done.stdout.strip())
    assert "JobState=COMPLETED" in told, log.read_text()
    assert f"{N_SCANS} of {N_SCANS} samples complete" in log.read_text()
    assert_same(place.bare, contents(tmp_path / "R"))


def test_with_tls_it_says_nothing_else_and_leaves_no_credentials(
    slurm: MiniSlurm, place: Place, tmp_path: Path
) -> None:
    command = ["cluster", "check", "--cluster", "slurm", "--tls", "--workers", "1", "--quiet"]
    command += ["--memory", "1GB", "--queue", "debug", "--dashboard_port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "amos_dask", *command, "--archive", str(place.archive)],
        env=os.environ | slurm.environment | {"DASK_AMOS_DASK__BATCH__INTERFACE": "lo"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "  tls://" in done.stdout
    assert done.stdout.endswith("ready\n")
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("slurm-")] == []
    wait_until_empty(slurm)


REFUSED = {
    "queue": (["--queue", "nonsense"], "invalid partition specified: nonsense"),
    "time": (["--queue", "short", "--walltime", "1-0"], "time limit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_slurm_refuses_is_one_line_at_once(
    slurm: MiniSlurm, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    options, words = REFUSED[case]
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    load_defaults()
    start = time.monotonic()
    with dask.config.set({"amos-dask.batch.interface": "lo"}):
        done = program(
            *TO_BE_REFUSED, tmp_path / "R", "--archive", place.archive, *options, exit_code=1
        )
    assert_refused(done.stderr, start)
    assert words in done.stderr
    assert not slurm.command("squeue", "-h")


def test_a_slurm_that_does_not_answer_is_one_line(
    slurm: MiniSlurm, place: Place, tmp_path: Path
) -> None:
    there = (slurm.folder / "slurm.conf").read_text()
    (tmp_path / "slurm.conf").write_text(
        re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=1", there) + "MessageTimeout=2\n"
    )
    away = {"SLURM_CONF": str(tmp_path / "slurm.conf"), "DASK_AMOS_DASK__BATCH__INTERFACE": "lo"}
    command = [*TO_BE_REFUSED, tmp_path / "R", "--archive", place.archive, "--queue", "debug"]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "amos_dask", *map(str, command)],
        env=os.environ | slurm.environment | away,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert_refused(done.stderr, start)
    assert "sbatch: error: " in done.stderr


TO_BE_REFUSED = (
    *("run", "--cluster", "slurm", "--quiet"),
    *("--workers", "3", "--memory", "1GB", "--dashboard_port", "0"),
)


def assert_refused(said: str, start: float) -> None:
    """Fail unless it was said in one line, soon."""
    assert re.fullmatch(r"amos-dask: slurm takes no job: [^\n]+\.\n", said), said
    assert time.monotonic() - start < 30


def test_the_sites_configuration_has_only_keys_that_are_read() -> None:
    def keys(tree: dict[str, Any], above: str = "") -> set[str]:
        return {
            name
            for key, value in tree.items()
            for name in (
                keys(value, f"{above}{key}.") if isinstance(value, dict) else {above + key}
            )
        }

    ours = yaml.safe_load(files("amos_dask.engine").joinpath("amos-dask.yaml").read_text())
    theirs = yaml.safe_load((BATCH_SCRIPT.parent / "amos-dask.yaml").read_text())
    assert keys(theirs) <= keys(ours)


def wait_until_empty(slurm: MiniSlurm, seconds: float = 30) -> None:
    """Wait until no job is left: a run takes its workers with it."""
    end = time.monotonic() + seconds
    while slurm.command("squeue", "-h"):
        assert time.monotonic() < end, slurm.command("squeue")
        time.sleep(0.1)
