"""Where the time of one sample goes: seconds by named phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

# What `amos_dask.sample.masks` calls, by the name it has there.
MASKS = {
    "read_paired_mask": "mask: read",
    "labels_present": "mask: counts",
    "split_prostate_uterus": "mask: remap",
    "find_small_regions": "mask: regions",
    "denoise_mask": "mask: denoise",
    "write_mask": "mask: pack and write",
    "write_binary_masks": "binary masks",
    "find_difference": "restore data",
    "RestoreData.stage": "restore data",
}
# What `amos_dask.sample.make` calls besides.
FUSED = {
    "stage_volume": "volume: read, scale, pack, write",
    "look_at_volume": "volume: header",
    "Staging.publish": "flush",
    "RestoreData.forget_others": "restore data",
    "remove_leftovers": "look for leftovers",
    "remove_superseded": "look for leftovers",
    "remove_outdated": "look for leftovers",
    "_describe": "describe",
    "origin_of": "receipt",
    "Receipts.identities": "receipt",
    "Receipts.write": "receipt",
    "write_times": "receipt",
}


class Phases:
    """Adds up wall time by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[phase] = self.seconds.get(phase, 0.0) + elapsed

    @contextmanager
    def watching(self, module: Any, names: dict[str, str]) -> Iterator[None]:
        """Time a module's functions (and methods, ``Class.method``) while the block runs.

        A name that the module no longer has is left out: its time shows as unaccounted.
        """
        with ExitStack() as stack:
            for name, phase in names.items():
                owner, attribute = _find(module, name)
                function = getattr(owner, attribute, None)
                if function is not None:
                    stack.enter_context(
                        patch.object(owner, attribute, self._timed(function, phase))
                    )
            yield

    def _timed(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(phase):
                return function(*args, **kwargs)

        return timed


def _find(module: Any, name: str) -> tuple[Any, str]:
    owner, _, attribute = name.rpartition(".")
    return (getattr(module, owner, None) if owner else module), attribute
