"""A Chromium without a window, driven through its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from required import missing
from tornado.websocket import WebSocketClientConnection, websocket_connect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)
_KEYS = {"Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "Tab": ("Tab", 9, "")}
_ARROWS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def find_chromium() -> str:
    """Return the program, or skip the test that needs it."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    return missing("chromium", f"none of {', '.join(_NAMES)} is on the PATH")


class Browser:
    """One page of a browser; what it said on its console and asked of the network is kept."""

    def __init__(self, folder: Path) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._profile = folder / "profile"
        self._loop = asyncio.new_event_loop()
        self._socket: WebSocketClientConnection
        self._n_calls = 0
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        self._process = subprocess.Popen(
            [find_chromium(), *_FLAGS, *root, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        address = f"http://127.0.0.1:{self._port()}/json"
        with urlopen(address, timeout=20) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        self._socket = self._loop.run_until_complete(
            self._connect(pages[0]["webSocketDebuggerUrl"])
        )
        for domain in ("Network", "Runtime", "Page", "Log"):
            self.call(f"{domain}.enable")
        # Without a window nothing would ever be told that it has the focus.
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (subprocess.TimeoutExpired, OSError, ConnectionError):
            self._process.kill()
            self._process.wait(10)
        self._loop.run_until_complete(self._disconnect())
        self._loop.close()

    def _port(self) -> str:
        file = self._profile / "DevToolsActivePort"
        for _ in range(400):
            if file.exists() and len(lines := file.read_text().split()) == 2:
                return lines[0]
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        self._process.kill()
        raise TimeoutError("Chromium did not open its port.")

    async def _connect(self, address: str) -> WebSocketClientConnection:
        return await websocket_connect(address, max_message_size=1 << 28)

    async def _disconnect(self) -> None:
        self._socket.close()
        await asyncio.sleep(0.05)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._n_calls += 1
        number = self._n_calls
        text = json.dumps({"id": number, "method": method, "params": parameters})
        await self._socket.write_message(text)
        while True:
            answer = await asyncio.wait_for(self._socket.read_message(), 60)
            if answer is None:
                raise ConnectionError(f"Chromium left during {method}.")
            message = json.loads(answer)
            self._note(message.get("method", ""), message.get("params", {}))
            if message.get("id") == number:
                if "error" in message:
                    raise ValueError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif event == "Network.webSocketCreated":
            self.requests.append(said["url"])
        elif event == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(said["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.messages.append(json.dumps(said["args"]))
        elif event == "Log.entryAdded":
            self.messages.append(said["entry"]["text"])

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, of its promise where it is one."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise ValueError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 15) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({expression})"):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.03)

    def open(self, path: Path) -> None:
        """Open a file, anew where it is open already, and wait until it is loaded."""
        self.run("window.isOld = true")
        self.call("Page.navigate", url=path.as_uri())
        self._loaded()

    def reload(self) -> None:
        """Load the page again."""
        self.run("window.isOld = true")
        self.call("Page.reload")
        self._loaded()

    def _loaded(self) -> None:
        self.wait_for("!window.isOld && document.readyState === 'complete'", 60)

    def press(self, *keys: str) -> None:
        """Press keys one after the other: characters, or names such as ``Enter``."""
        for key in keys:
            if key in _ARROWS:
                code, text = _ARROWS[key], ""
            elif key in _KEYS:
                _, code, text = _KEYS[key]
            else:
                code, text = ord(key.upper()), key
            said = {"key": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **said)
            self.call("Input.dispatchKeyEvent", type="keyUp", **said)

    def resize(self, width: int, height: int) -> None:
        """Give the page the size of a window."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``, as a system does."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        answer = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))
