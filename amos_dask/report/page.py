"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

# In this order they become one script; a file uses what the files before it define.
_SCRIPTS = (
    "core.js",
    "choices.js",
    "tables.js",
    "charts.js",
    "hover.js",
    "pictures.js",
    "files.js",
    "review.js",
    "sections.js",
    "distributions.js",
    "keys.js",
    "start.js",
)
_SLOT = re.compile(r"<!--slot:(\w+)-->")
# What differs between pages that show the same.
_PASSING = re.compile(
    rb'<title>.*?</title>|<script type="application/json" id="times">.*?</script>'
    rb'|"root":"(?:[^"\\]|\\.)*"',
    re.DOTALL,
)
_IN_SCRIPT = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_page(
    path: Path,
    content: Mapping[str, Any],
    times: Mapping[str, Any],
    pictures: Iterable[tuple[str, str]],
) -> None:
    """Write the report's page; the same arguments give the same bytes.

    Parameters
    ----------
    path : Path
        The file to write.
    content : mapping
        What the page shows, of what JSON knows; a number that is not finite is shown as unknown.
    times : mapping
        The time that steps and samples took. Apart, as it differs from run to run.
    pictures : iterable of (str, str)
        Sample id, and JSON text: the list of its slices. One pair is held in memory at a time.
    """
    style = _asset("report.css")
    script = '"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS)
    slots = {
        "policy": _policy(style, script),
        "title": html.escape(f"{content['root']} - report of amos-dask"),
        "style": f"<style>{style}</style>",
        "data": _data("content", _json(content)) + _data("times", _json(times)),
        "script": f"<script>{script}</script>",
    }
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        # Text and names of slots alternate. The pictures come last, after the script: the page is
        # drawn while they are still being read.
        for position, part in enumerate(_SLOT.split(_asset("page.html"))):
            if position % 2 == 0:
                file.write(part)
            elif part == "pictures":
                for sample_id, slices in pictures:
                    file.write(_data(f"pictures-{sample_id}", slices))
            else:
                file.write(slots[part])


def shows_the_same(first: Path, second: Path) -> bool:
    """Return whether two pages show the same, but for times and ROOT_DIR's name."""
    shown = (_PASSING.sub(b"", path.read_bytes()) for path in (first, second))
    return next(shown) == next(shown)


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the policy under which this one script and style run, and nothing is ever fetched."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(name: str, text: str) -> str:
    """Return JSON text as an element of the page; in JSON, what is escaped is within strings."""
    for character, escaped in _IN_SCRIPT.items():
        text = text.replace(character, escaped)
    return f'<script type="application/json" id="{html.escape(name)}">{text}</script>\n'


def _json(value: object) -> str:
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
