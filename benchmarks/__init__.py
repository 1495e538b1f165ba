"""Benchmarks of amos-dask: ``python -m benchmarks`` from the root of the checkout.

Each ``bench_*`` module registers functions by name; `harness` runs the sides of a comparison in
turns, `report` prints and saves what came out.
"""
