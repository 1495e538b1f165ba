"""Puts tests/ on the path, so that `oracle` and `strategies` are found from here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
