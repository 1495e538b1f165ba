"""Union-find over an array of parents: ``parent[i] <= i``, and a root is its own parent."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit_inline

IntArray = NDArray[np.int64]


@njit_inline
def find_root(parent: IntArray, node: int) -> int:
    """Return the root of ``node``, halving the path on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit_inline
def join_roots(parent: IntArray, a: int, b: int) -> int:
    """Join the sets of the roots ``a`` and ``b``; return the common root, the smaller number."""
    if a < b:
        parent[b] = a
        return a
    parent[a] = b
    return b
