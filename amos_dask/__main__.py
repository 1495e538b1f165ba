"""``python -m amos_dask``."""

from amos_dask.cli import main

if __name__ == "__main__":
    main()
