"""Components of all labels with sizes and centroids: ours, cc3d, scipy, scikit-image."""

from __future__ import annotations

from functools import partial
from typing import Any

from amos_dask.kernels.components import label_components
from benchmarks.harness import (
    Claim,
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    timing_rows,
)
from benchmarks.peers import OURS, Peer, installed_peers, missing_peers, same_components
from benchmarks.scans import (
    CT_SHAPE,
    TINY_SHAPE,
    Mask,
    checkerboard,
    ct_scan,
    mr_scan,
    random_labels,
)
from benchmarks.settings import Settings

# scikit-image makes a Python object for each region, half a day's worth for millions.
_MOST_FOR_SKIMAGE = 50_000
_SLOW = ("scipy", "scikit-image")


@benchmark("components")
def bench_components(settings: Settings) -> Report:
    """Time every peer on scans and on worst cases."""
    rows, comparisons, skipped = [], {}, []
    for case, mask in _masks(settings).items():
        n_components = label_components(mask).label.size
        comparison = _compare(mask, n_components, settings.repeats)
        if "scikit-image" not in comparison:
            skipped.append(case)
        comparisons[case] = comparison
        rows += timing_rows(case, comparison, components=n_components)
    notes = ["The result of every side is checked to be the same before it is timed."]
    if missing_peers():
        notes.append(f"Not installed: {', '.join(missing_peers())}.")
    elif skipped:
        notes.append(f"Too many regions for scikit-image: {', '.join(skipped)}.")
    table = Table("26-connected components with sizes and centroids", rows, " ".join(notes))
    return Report([table], _claims(comparisons))


def _masks(settings: Settings) -> dict[str, Mask]:
    shape = TINY_SHAPE if settings.tiny else CT_SHAPE
    return {
        "CT": ct_scan(settings).mask,
        "noisy CT": ct_scan(settings, noisy=True).mask,
        "MR": mr_scan(settings).mask,
        "checkerboard": checkerboard(shape),
        "random 2 labels": random_labels(shape, 2),
        "random 17 labels": random_labels(shape, 17),
    }


def _compare(mask: Mask, n_components: int, repeats: int) -> Comparison:
    peers = {OURS.name: OURS}
    for peer in installed_peers():
        if peer.name != "scikit-image" or n_components <= _MOST_FOR_SKIMAGE:
            peers[peer.name] = peer
    sides = {
        name: Side(partial(_find, peer, mask), max_runs=3 if name in _SLOW else None)
        for name, peer in peers.items()
    }

    def same(ours: Any, theirs: Any) -> bool:
        (first, found), (peer, found_by_peer) = ours, theirs
        return same_components(first.rows(mask, found), peer.rows(mask, found_by_peer))

    return compare(sides, repeats, same)


def _find(peer: Peer, mask: Mask) -> tuple[Peer, Any]:
    return peer, peer.find(mask)


def _claims(comparisons: dict[str, Comparison]) -> list[Claim]:
    claims = []
    for peer, limit in (("cc3d", 10.0), ("scipy", 100.0)):
        if peer in comparisons["CT"]:
            ratio = comparisons["CT"][peer].ratio
            claims.append(Claim(f"CT: {peer} takes as long as ours times", ratio, limit))
    return claims
