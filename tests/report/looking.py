"""What the tests do with the report in a browser: read, filter, save."""

from __future__ import annotations

import json
import time
from pathlib import Path

from report.chromium import Browser

TEXTS = "[...document.querySelectorAll({})].map((node) => node.textContent)"


def texts(page: Browser, selector: str) -> list[str]:
    found: list[str] = page.run(TEXTS.format(json.dumps(selector)))
    return found


def choose(page: Browser, name: str, value: str) -> None:
    page.run(
        f"{{ const field = document.getElementById('filter-{name}');"
        f"field.value = {json.dumps(value)};"
        "field.dispatchEvent(new Event('change')); field.dispatchEvent(new Event('input')); }"
    )


def cards(page: Browser) -> list[str]:
    return [one.removeprefix("card-") for one in page.run(
        "[...document.querySelectorAll('.card')].map((card) => card.id)"
    )]  # fmt: skip


def saved(page: Browser, folder: Path) -> str:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.press("s")
    file = folder / "denoise_exclude.csv"
    for _ in range(200):
        if file.exists() and file.stat().st_size:
            return file.read_bytes().decode()
        time.sleep(0.03)
    raise TimeoutError("No file was saved.")
