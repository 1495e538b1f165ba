"""Groups of items, reduced as a tree of tasks: each item is read once, however many hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Generic, TypeVar

from amos_dask.engine.events import Item

if TYPE_CHECKING:
    from dask.delayed import Delayed

Group = TypeVar("Group", bound=tuple[str, ...])  # which make its name
Part = TypeVar("Part")
Seen = TypeVar("Seen")
Value = TypeVar("Value")
_ADDED_AT_ONCE = 4  # parts, which may each be large


@dataclass(frozen=True)
class Reduction(Generic[Item, Part, Seen, Value]):
    """How items become the value of a group; functions of a module, as workers run them."""

    read: Callable[[Sequence[Item]], tuple[Part, Seen]]  # some items, and what was seen of them
    add: Callable[[Sequence[Part]], Part]
    finish: Callable[[Part], Value]


def reduction_graph(
    groups: Mapping[Group, Sequence[Item]],
    how: Reduction[Item, Part, Seen, Value],
    n_at_once: int,
) -> tuple[dict[Group, Delayed], list[Delayed]]:
    """Return the graph of the groups that have items.

    Items that are in the same groups are added up first; a group is the sum of such sums.

    Parameters
    ----------
    groups : mapping of tuple of str to sequence
        Group -> its items, known by their names.
    how : Reduction
        What is done.
    n_at_once : int
        So many items are read in one task.

    Returns
    -------
    values : dict of tuple to Delayed
        Of each group, in the order of the groups.
    seen : list of Delayed
        Of a few items each.
    """
    from dask import delayed

    groups_of: dict[str, tuple[Group, ...]] = {}
    for group, items in groups.items():
        for item in items:
            groups_of[item.name] = (*groups_of.get(item.name, ()), group)
    alike: dict[tuple[Group, ...], dict[str, Item]] = {}
    for item in chain.from_iterable(groups.values()):
        alike.setdefault(groups_of[item.name], {})[item.name] = item
    add = delayed(how.add, pure=False)
    parts: dict[Group, list[Delayed]] = {}
    seen: list[Delayed] = []
    for whose, by_name in alike.items():
        found, starts = list(by_name.values()), range(0, len(by_name), n_at_once)
        # Dask would look for delayed values in arguments, item by item.
        reads = [partial(how.read, found[start : start + n_at_once]) for start in starts]
        pairs = [delayed(read, nout=2, pure=False)() for read in reads]
        seen += [of_items for _, of_items in pairs]
        together = _add_as_tree([part for part, _ in pairs], add)
        for group in whose:
            parts.setdefault(group, []).append(together)
    finish = delayed(how.finish, pure=False)
    values = {group: finish(_add_as_tree(parts[group], add)) for group in groups if group in parts}
    return values, seen


def _add_as_tree(parts: list[Delayed], add: Callable[[list[Delayed]], Delayed]) -> Delayed:
    while len(parts) > 1:
        starts = range(0, len(parts), _ADDED_AT_ONCE)
        parts = [add(parts[start : start + _ADDED_AT_ONCE]) for start in starts]
    return parts[0]
