"""A Slurm of a few nodes on this machine for the length of a test: munged, slurmctld, slurmds."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_CONFIGURATION = """\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
OverTimeLimit=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
"""
_NODE = (
    "NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN\n"
)
_PARTITIONS = (
    "EnforcePartLimits=ALL\n"
    "PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    "PartitionName=short Nodes=ALL MaxTime=60 State=UP\n"
)


def why_not() -> str | None:
    """Return why there can be no Slurm here; None when there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"{', '.join(absent)} not installed (slurm-wlm, munge)" if absent else None


class MiniSlurm:
    """The daemons, on loopback ports of their own, with all files in one folder."""

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2, memory_mb: int = 4000) -> None:
        self.folder = folder
        self.nodes, self.cpus, self.memory_mb = nodes, cpus, memory_mb
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start_munge()
            self._write_configuration()
            self._start("slurmctld", "-D", "-c")
            for number in range(self.nodes):
                self._start("slurmd", "-D", "-N", f"n{number}")
            self._wait_for(self._is_idle, "idle nodes")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.command("scancel", "--user", getpass.getuser(), check=False)
        self._stop()

    def command(self, *words: str, check: bool = True) -> str:
        """Run one of Slurm's commands; return what it prints."""
        done = subprocess.run(
            words, env=os.environ | self.environment, check=check, capture_output=True, text=True
        )
        return done.stdout.strip()

    def running_jobs(self) -> list[str]:
        """Return the numbers of running jobs, the oldest first."""
        return sorted(self.command("squeue", "-h", "-t", "R", "-o", "%i").split(), key=int)

    def _start_munge(self) -> None:
        self.folder.chmod(0o755)
        place = self.folder / "munge"
        place.mkdir(mode=0o755)
        key = place / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        options = [f"--{name}={place / file}" for name, file in files.items()]
        self._start("munged", "--foreground", f"--seed-file={place / 'seed'}", *options)
        self._wait_for((place / "socket").exists, "munge's socket")

    def _write_configuration(self) -> None:
        (self.folder / "state").mkdir()
        host = socket.gethostname().split(".")[0]
        controller, *ports = _free_ports(1 + self.nodes)
        text = _CONFIGURATION.format(
            host=host, port=controller, user=getpass.getuser(), folder=self.folder
        )
        for number, port in enumerate(ports):
            text += _NODE.format(
                number=number, host=host, port=port, cpus=self.cpus, memory_mb=self.memory_mb
            )
        (self.folder / "slurm.conf").write_text(text + _PARTITIONS)

    def _start(self, program: str, *options: str) -> None:
        words = (str(shutil.which(program, path=_PATH)), *options)
        with (self.folder / f"{program}.{len(self._daemons)}.out").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    words,
                    env=os.environ | self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _is_idle(self) -> bool:
        states = self.command("sinfo", "-h", "-N", "-p", "debug", "-o", "%T", check=False).split()
        return states == ["idle"] * self.nodes

    def _wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                raise RuntimeError(f"no {what}; ended: {dead}; {self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        return "\n".join(path.read_text()[-500:] for path in sorted(self.folder.glob("*.out")))

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
