"""Two runs at once with different parameters: the tree is what one of them makes of it."""

from __future__ import annotations

import pairs
import pytest

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> pairs.Rivals:
    """An archive, and what each of two runs makes of it."""
    return pairs.prepare(tmp_path_factory.mktemp("pairs"), ("--cluster", cluster_address))


@pytest.mark.parametrize("seed", range(3))
def test_of_two_runs_at_once_the_tree_is_of_one(rivals: pairs.Rivals, seed: int) -> None:
    pairs.one_pair(rivals, seed)
