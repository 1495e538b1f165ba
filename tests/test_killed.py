"""Killed with SIGKILL at a drawn moment, run again: nothing lost, nothing done twice."""

from __future__ import annotations

import pytest
import soak

pytestmark = pytest.mark.integration
SEEDS, SEEDS_AFTER_EDITS = (0, 1), (10, 11)  # tests/soak.py takes as many as are asked for


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> soak.Place:
    """An archive and what an undisturbed run makes of it."""
    return soak.prepare(tmp_path_factory.mktemp("soak"), size="tiny", cluster=cluster_address)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_run_goes_on_where_it_was(place: soak.Place, seed: int) -> None:
    soak.one_round(place, soak.draw(seed, place.n_samples))


@pytest.mark.parametrize("seed", SEEDS_AFTER_EDITS)
def test_a_run_that_was_killed_after_edits_loses_none(place: soak.Place, seed: int) -> None:
    soak.one_round_after_edits(place, soak.draw(seed, place.n_samples))


def test_the_seeds_kill_both_clients_and_workers() -> None:
    for seeds in (SEEDS, SEEDS_AFTER_EDITS):
        assert {soak.draw(seed, 12).victim for seed in seeds} == set(soak.VICTIMS)
