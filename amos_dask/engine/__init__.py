"""Dask: a session in which tasks run, their events, and where to run them."""
