"""What each batch system is asked for, without any of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import Any

import dask
import pytest

from amos_dask.engine.batch import job_arguments, walltime_seconds
from amos_dask.engine.connect import connect
from amos_dask.engine.options import BATCH_SYSTEMS, ClusterOptions, complete, load_defaults
from amos_dask.errors import ClusterError

_handler = signal.getsignal(signal.SIGINT)
dask_jobqueue = pytest.importorskip("dask_jobqueue")
signal.signal(signal.SIGINT, _handler)  # it makes of Ctrl-C an end with status 0

# Lines of the job of one worker with 3 GB and 90 minutes, in queue "short" for account "us".
EXPECTED = {
    "slurm": ["#SBATCH -p short", "#SBATCH -A us", "#SBATCH --mem=3G", "#SBATCH -t 01:30:00"],
    "pbs": ["#PBS -q short", "#PBS -A us", ":mem=2862MB", "#PBS -l walltime=01:30:00"],
    "moab": ["#PBS -q short", "#PBS -A us", ":mem=2862MB", "#PBS -l walltime=01:30:00"],
    "lsf": ["#BSUB -q short", '#BSUB -P "us"', "#BSUB -M 3000000", "#BSUB -W 01:30\n"],
    "sge": ["#$ -q short", "#$ -P us", "#$ -l h_rt=01:30:00"],
    "oar": ["#OAR -q short", "#OAR --project us", "mem_core>=2862", "walltime=01:30:00"],
    "htcondor": ["MY.DaskWorkerMemory = 3000000000", "MY.DaskWorkerDisk = 1000000000"],
}


def script(options: ClusterOptions) -> str:
    arguments = job_arguments(complete(options))
    del arguments["scheduler_options"]
    kind = getattr(dask_jobqueue, BATCH_SYSTEMS[str(options.cluster)])
    return str(kind.job_cls("tcp://node1:8786", name="one", **arguments).job_script())


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LSF_ENVDIR", "/nowhere")
    monkeypatch.delenv("PBS_ACCOUNT", raising=False)
    load_defaults()
    with dask.config.set({"jobqueue.oar.memory-per-core-property-name": "mem_core"}):
        yield


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_the_job_asks_for_what_the_options_say(system: str) -> None:
    named = {} if system == "htcondor" else {"queue": "short", "account": "us"}
    text = script(ClusterOptions(system, memory="3GB", walltime="01:30:00", **named))
    assert [line for line in EXPECTED[system] if line not in text] == []
    assert "--memory-limit 2.79GiB" in text
    assert "--lifetime 4590s --lifetime-stagger 540s" in text
    assert "export OMP_NUM_THREADS=1" in text
    assert "export PYTHONSAFEPATH=1" in text


def test_ctrl_c_stays_what_it_is() -> None:
    code = (
        "import signal; from amos_dask import AmosDaskError, ClusterOptions;"
        "from amos_dask.engine.connect import connect\n"
        "try:\n  with connect(ClusterOptions('slurm', queue='none')): pass\n"
        "except AmosDaskError as error: print(error)\n"
        "import dask_jobqueue; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": "/nowhere"},
        check=True,
    ).stdout
    assert "slurm" in said
    assert said.splitlines()[-1] == "True"


@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_a_job_can_be_made_without_any_option(system: str) -> None:
    assert "--lifetime 12240s" in script(ClusterOptions(system))


@pytest.mark.parametrize("option", ["queue", "account"])
def test_an_option_that_a_system_does_not_have_is_named(option: str) -> None:
    with pytest.raises(ClusterError, match=rf"^htcondor has no {option}: .*--{option} one\.$"):
        script(ClusterOptions("htcondor", **{option: "one"}))


def test_directives_of_htcondor_are_pairs() -> None:
    with dask.config.set({"amos-dask.batch.directives": ["requirements = a == b"]}):
        assert "\nrequirements = a == b\n" in script(ClusterOptions("htcondor"))
    with (
        dask.config.set({"amos-dask.batch.directives": ["--constraint"]}),
        pytest.raises(ClusterError, match="'--constraint' is not of the form"),
    ):
        script(ClusterOptions("htcondor"))


HOUR, DAY = 3600, 86400


@pytest.mark.parametrize(
    ("system", "walltime", "seconds"),
    [
        ("slurm", "90", 90 * 60),
        ("slurm", "90:30", 90 * 60 + 30),
        ("slurm", "01:02:03", HOUR + 123),
        ("slurm", "48:00:00", 2 * DAY),
        ("slurm", "1-2", DAY + 2 * HOUR),
        ("slurm", "1-02:30", DAY + 2 * HOUR + 1800),
        ("slurm", "1-02:30:04", DAY + 2 * HOUR + 1804),
        ("lsf", "90", 90 * 60),
        ("lsf", "02:30", 2 * HOUR + 1800),
        ("lsf", "02:30:00", 2 * HOUR + 1800),
        ("pbs", "7200", 2 * HOUR),
        ("pbs", "02:30", 150),
        ("sge", "7200", 2 * HOUR),
        ("oar", "2", 2 * HOUR),
        ("oar", "2:30", 2 * HOUR + 1800),
    ],
)
def test_walltimes_are_read_as_the_system_reads_them(
    system: str, walltime: str, seconds: int
) -> None:
    assert walltime_seconds(system, walltime) == seconds


@pytest.mark.parametrize(
    ("system", "walltime", "line"),
    [
        ("slurm", "1-02:30", "#SBATCH -t 1-02:30"),
        ("lsf", "1-02:30:01", "#BSUB -W 26:31"),
        ("lsf", "90", "#BSUB -W 01:30"),
        ("pbs", "7200", "walltime=02:00:00"),
        ("oar", "1-2", "walltime=26:00:00"),
    ],
)
def test_walltimes_are_passed_on_in_the_systems_form(system: str, walltime: str, line: str) -> None:
    assert re.search(rf"{line}$", script(ClusterOptions(system, walltime=walltime)), re.MULTILINE)


@pytest.mark.parametrize(
    "walltime", ["1:2:3:4", "soon", "1-", "-1", "1-1:2:3:4", "1::2", "0", "+5"]
)
def test_other_walltimes_are_refused_in_one_sentence(walltime: str) -> None:
    with pytest.raises(ClusterError, match=re.escape(repr(walltime))) as caught:
        script(ClusterOptions("slurm", walltime=walltime))
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("memory", ["4XB", "auto", "-4GB", "0"])
def test_a_memory_that_is_no_amount_is_refused_in_one_sentence(memory: str) -> None:
    with pytest.raises(ClusterError, match=f"^memory '{memory}' is not an amount"):
        script(ClusterOptions("slurm", memory=memory))


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_a_batch_system_that_is_not_installed_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    options = ClusterOptions("slurm", workers=2, dashboard_port=0)
    with (
        dask.config.set({"amos-dask.batch.interface": "lo"}),
        pytest.raises(ClusterError, match=r"^slurm takes no job: sbatch is not installed here\.$"),
        connect(options),
    ):
        pass
    assert capfd.readouterr().err == ""
