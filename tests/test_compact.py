"""Compact sequences hold what a list would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amos_dask.compact import Compact

ITEMS = st.lists(st.tuples(st.integers(), st.text(max_size=3)), max_size=70)


@given(ITEMS, ITEMS, st.slices(70))
def test_they_are_as_lists(items: list[object], more: list[object], some: slice) -> None:
    compact, plain = Compact(items), list(items)
    for item in more:
        compact.append(item)
        plain.append(item)
    assert len(compact) == len(plain)
    assert list(compact) == plain
    assert [compact[n] for n in range(-len(plain), len(plain))] == plain + plain
    assert compact[some] == plain[some]


def test_two_at_once_go_through_all() -> None:
    compact = Compact(range(40))
    assert list(zip(compact, compact, strict=True)) == [(n, n) for n in range(40)]
