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
Value = TypeVar("Value")
_ADDED_AT_ONCE = 4  # parts, which may each be large


@dataclass(frozen=True)
class Reduction(Generic[Item, Part, Value]):
    """How items become the value of a group; functions of a module, as workers run them."""

    read: Callable[[Sequence[Item]], Part]  # some items
    add: Callable[[Sequence[Part]], Part]
    finish: Callable[[Part], Value]


def reduction_graph(
    groups: Mapping[Group, Sequence[Item]], how: Reduction[Item, Part, Value], n_at_once: int
) -> dict[Group, Delayed]:
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
    dict of tuple to Delayed
        The value of each group, in the order of the groups.
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
    for whose, by_name in alike.items():
        found, starts = list(by_name.values()), range(0, len(by_name), n_at_once)
        # Dask would look for delayed values in arguments, item by item.
        reads = [partial(how.read, found[start : start + n_at_once]) for start in starts]
        together = _add_as_tree([delayed(read, pure=False)() for read in reads], add)
        for group in whose:
            parts.setdefault(group, []).append(together)
    finish = delayed(how.finish, pure=False)
    return {group: finish(_add_as_tree(parts[group], add)) for group in groups if group in parts}


def _add_as_tree(parts: list[Delayed], add: Callable[[list[Delayed]], Delayed]) -> Delayed:
    while len(parts) > 1:
        starts = range(0, len(parts), _ADDED_AT_ONCE)
        parts = [add(parts[start : start + _ADDED_AT_ONCE]) for start in starts]
    return parts[0]
