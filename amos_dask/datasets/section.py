"""A part of a definition's file: its keys asked for one by one, each mistake one sentence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from amos_dask.errors import DatasetError

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_WORDS = {"yes": True, "true": True, "no": False, "false": False}


class Section:
    """A mapping, and which of its keys have been asked for.

    Parameters
    ----------
    content : object
        Keys to text, lists of text and mappings.
    where : str
        Where it stands, for messages.

    Raises
    ------
    DatasetError
        Here and by every method, when something is not as it ought to be.
    """

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
            raise DatasetError(f"{where}: expected lines such as 'name: AMOS22'.")
        self.content: Mapping[str, object] = content
        self.where = where
        self._asked: set[str] = set()

    def get(self, key: str) -> object:
        """Return what stands under a key, or None."""
        self._asked.add(key)
        return self.content.get(key)

    def require_no_more(self) -> None:
        """Raise when there are keys that nobody has asked for."""
        more = [key for key in self.content if key not in self._asked]
        if more:
            raise DatasetError(f"{self.where}: {more[0]!r} is not a key of a dataset definition.")

    def section(self, key: str) -> Section:
        """Return a mapping; without keys where there is none."""
        found = self.get(key)
        return Section({} if found is None else found, f"{self.where}, {key}")

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty."""
        found = self.get(key)
        if found is None and default is not None:
            return default
        if not isinstance(found, str) or not found:
            raise DatasetError(f"{self.where}: {key} is missing, or is not a text.")
        return found

    def word(self, key: str, form: re.Pattern[str]) -> str:
        """Return a text of a certain form."""
        found = self.text(key)
        if not form.fullmatch(found):
            raise DatasetError(f"{self.where}: {found!r} is not possible as {key}.")
        return found

    def number(self, key: str, default: int) -> int:
        """Return a whole number."""
        found = self.get(key)
        if found is None:
            return default
        if not isinstance(found, str) or not re.fullmatch("[0-9]{1,15}", found):
            raise DatasetError(f"{self.where}: {key} {found!r} is not a whole number.")
        return int(found)

    def flag(self, key: str) -> bool:
        """Return whether the answer is yes; no where there is none."""
        found = self.text(key, "no")
        if found.lower() not in _WORDS:
            raise DatasetError(f"{self.where}: {key} must be yes or no, not {found!r}.")
        return _WORDS[found.lower()]

    def words(self, key: str, known: Collection[str] | None = None) -> list[str]:
        """Return a list of texts, all among the known ones; empty where there is none."""
        found = self.get(key)
        items = [] if found is None else found
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise DatasetError(f"{self.where}: {key} is not a list of texts such as [a, b].")
        for item in items:
            if known is not None and item not in known:
                names = ", ".join(known) or "those named"
                raise DatasetError(f"{self.where}: {item!r} in {key} is none of {names}.")
        return items

    def numbers(self, key: str) -> list[int]:
        """Return a list of whole numbers."""
        found = self.words(key)
        for item in found:
            if not item.isascii() or not item.isdecimal():
                raise DatasetError(f"{self.where}: {item!r} in {key} is not a whole number.")
        return [int(item) for item in found]

    def keys_among(self, known: Collection[str]) -> Iterable[str]:
        """Yield the keys, all among the known ones."""
        for key in self.content:
            if key not in known:
                raise DatasetError(f"{self.where}: {key!r} is none of {', '.join(known)}.")
            yield key

    def ranges(self, known: Collection[str]) -> tuple[tuple[int, int, str], ...]:
        """Return first number, last number and key, of lines such as ``ct: 1-500, 601``."""
        found = []
        for key in self.keys_among(known):
            for part in self.text(key).split(","):
                match = _RANGE.fullmatch(part.strip())
                first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
                if first > last:
                    raise DatasetError(
                        f"{self.where}: {part.strip()!r} of {key} is not a range such as 1-500."
                    )
                found.append((first, last, key))
        found.sort()
        for (_, last, _), (first, _, key) in pairwise(found):
            if first <= last:
                raise DatasetError(f"{self.where}: number {first} of {key} is in two ranges.")
        return tuple(found)
