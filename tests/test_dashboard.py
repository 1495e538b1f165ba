"""The dashboard is there, with its plots: bokeh is a dependency for this reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from amos_dask.engine.connect import connect
from amos_dask.engine.options import ClusterOptions

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """Address of the dashboard of a local cluster as the program starts it."""
    with connect(ClusterOptions(workers=1, dashboard_port=0)) as client:
        assert client.dashboard_link.endswith("/status")
        yield client.dashboard_link.removesuffix("/status")


def page(address: str) -> str:
    with urlopen(address, timeout=20) as answer:
        assert answer.status == 200
        text = answer.read().decode()
    assert isinstance(text, str)
    return text


def test_status_page_embeds_bokeh_documents(dashboard: str) -> None:
    html = page(f"{dashboard}/status")
    assert re.search(r'<script[^>]+src="[^"]*bokeh(\.min)?\.js', html)
    assert "root.Bokeh.embed.embed_items" in html or "Bokeh.embed" in html
    documents = re.findall(r'data-root-id="p\d+"', html)
    assert len(set(documents)) >= 4  # memory, processing, task stream, progress


def test_bokehs_own_scripts_are_served_from_the_dashboard(dashboard: str) -> None:
    html = page(f"{dashboard}/status")
    source = re.search(r'<script[^>]+src="([^"]*bokeh(?:\.min)?\.js[^"]*)"', html)
    assert source is not None
    assert not source[1].startswith("http"), "a page that needs the internet"
    assert "Bokeh" in page(f"{dashboard}/{source[1].lstrip('/')}")


@pytest.mark.parametrize("plot", ["individual-task-stream", "individual-progress", "workers"])
def test_single_plots_are_served(dashboard: str, plot: str) -> None:
    assert re.search(r'data-root-id="p\d+"', page(f"{dashboard}/{plot}"))
