"""Parts of the machine that some tests need: skipped without them, except where they must be."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(component: str, reason: str) -> NoReturn:
    """Skip a test; fail where ``AMOS_DASK_REQUIRE`` lists the component, as it does in CI."""
    required = os.environ.get("AMOS_DASK_REQUIRE", "").split(",")
    if component in required:
        pytest.fail(f"{component} is required here: {reason}")
    pytest.skip(f"no {component}: {reason}")
