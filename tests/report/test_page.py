"""The report's file: one script of ours, everything else data, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from report.made_up import HOSTILE, make_content, make_pictures, make_times

from amos_dask.report.make_report import write_page


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def named(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        pairs = zip(self.tags, self.texts, strict=True)
        return [(attributes, text) for (name, attributes), text in pairs if name == tag]


def write(path: Path, content: dict[str, Any]) -> Path:
    write_page(path, content, make_times(content), make_pictures(content, width=80))
    return path


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, make_content(24)) for name in ("1.html", "2.html"))
    assert one.read_bytes() == two.read_bytes()


def test_no_text_of_the_data_becomes_an_element(tmp_path: Path) -> None:
    content = make_content(24, hostile=HOSTILE)
    path = tmp_path / "report.html"
    pictures = [("amos_0001", json.dumps([{"plane": HOSTILE}])), (f'a">{HOSTILE}', "[]")]
    write_page(path, content, {"steps": [{"name": HOSTILE}], "samples": []}, pictures)
    elements = Elements(path)
    assert elements.named("img") == []
    scripts = elements.named("script")
    assert [attributes.get("id") for attributes, _ in scripts] == [
        "content", "times", None, "pictures-amos_0001", f'pictures-a">{HOSTILE}',
    ]  # fmt: skip
    assert all(a.get("type") == "application/json" for a, _ in scripts if a.get("id"))
    assert json.loads(scripts[0][1]) == content
    assert json.loads(scripts[1][1])["steps"][0]["name"] == HOSTILE
    assert json.loads(scripts[3][1])[0]["plane"] == HOSTILE
    (_, title) = elements.named("title")[0]
    assert title.startswith("AMOS22</script><img")


def test_only_the_one_script_and_style_are_allowed_and_nothing_is_fetched(tmp_path: Path) -> None:
    elements = Elements(write(tmp_path / "report.html", make_content(24)))
    policies = [a["content"] for a, _ in elements.named("meta") if "http-equiv" in a]
    assert len(policies) == 1
    policy = str(policies[0])
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (text,) = [text for attributes, text in elements.named(tag) if not attributes]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    outside = [
        value
        for _, attributes in elements.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset") and not re.match("#|data:", value or "")
    ]
    assert outside == []
    assert not [name for _, a in elements.tags for name in a if name.startswith("on")]


def test_what_is_not_finite_is_unknown(tmp_path: Path) -> None:
    content = make_content(24)
    content["samples"][0]["repair_norm"] = float("nan")
    content["intensities"][0]["max"] = float("inf")
    found = json.loads(Elements(write(tmp_path / "r.html", content)).named("script")[0][1])
    assert found["samples"][0]["repair_norm"] is None
    assert found["intensities"][0]["max"] is None


def test_names_of_no_valid_text_are_written_all_the_same(tmp_path: Path) -> None:
    content = make_content(24)
    content["root"] = "AMOS\udcff22"
    found = json.loads(Elements(write(tmp_path / "r.html", content)).named("script")[0][1])
    assert found["root"] == "AMOS\udcff22"


def test_pictures_are_never_all_in_memory(tmp_path: Path) -> None:
    def pictures() -> Iterator[tuple[str, str]]:
        for number in range(60):
            yield f"amos_{number:04d}", json.dumps("A" * 1_000_000)

    content = make_content(24)
    tracemalloc.start()
    try:
        write_page(tmp_path / "report.html", content, {}, pictures())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "report.html").stat().st_size > 60_000_000
    assert peak < 12_000_000
