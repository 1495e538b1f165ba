"""Hosts on one machine: network namespaces on a bridge, which has a namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from types import TracebackType
from typing import IO, Any, Self

_SWITCH = "amos-switch"
_NETWORK = "10.213.77"


def why_not() -> str | None:
    """Return why there can be no namespaces here; None when there can."""
    if shutil.which("ip") is None:
        return "ip is not installed (iproute2)"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    probe = subprocess.run(["ip", "netns", "add", "amos-probe"], capture_output=True, check=False)
    if probe.returncode:
        return probe.stderr.decode().strip()
    _ip("netns", "del", "amos-probe")
    return None


class Hosts:
    """Hosts that reach each other by addresses; the link of each can be cut."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._processes: list[subprocess.Popen[Any]] = []

    def address(self, name: str) -> str:
        return f"{_NETWORK}.{1 + self.names.index(name)}"

    def __enter__(self) -> Self:
        self._remove()
        _ip("netns", "add", _SWITCH)
        _ip("-n", _SWITCH, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", "bridge0", "up")
        for name in self.names:
            here, port = _namespace(name), f"port-{name}"
            _ip("netns", "add", here)
            veth = ("link", "add", "eth0", "netns", here, "type", "veth")
            _ip(*veth, "peer", "name", port, "netns", _SWITCH)
            _ip("-n", here, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", here, "link", "set", device, "up")
            _ip("-n", _SWITCH, "link", "set", port, "master", "bridge0")
            _ip("-n", _SWITCH, "link", "set", port, "up")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._remove()

    def start(
        self, name: str, *words: str, output: int | IO[Any] = subprocess.DEVNULL, **environment: str
    ) -> subprocess.Popen[str]:
        """Start a program on a host; it ends with the hosts."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", _namespace(name), *words],
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def cut(self, name: str) -> None:
        """Cut the link of a host: nothing arrives any more, and nobody is told."""
        _ip("-n", _SWITCH, "link", "set", f"port-{name}", "down")

    def _remove(self) -> None:
        for namespace in (*map(_namespace, self.names), _SWITCH):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def _namespace(name: str) -> str:
    return f"amos-{name}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
