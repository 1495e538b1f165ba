"""What people put anywhere under ROOT_DIR outlives random series of commands."""

from __future__ import annotations

from pathlib import Path

import plant
import pytest

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> plant.Made:
    """An archive and a finished ROOT_DIR."""
    return plant.make(tmp_path_factory.mktemp("plant"), cluster_address)


@pytest.mark.parametrize("seed", range(12))
def test_nothing_of_the_users_is_lost(made: plant.Made, tmp_path: Path, seed: int) -> None:
    plant.one_series(made, tmp_path, seed)
