"""What reviewers said of samples: lines of the exclusion file that denoising leaves aside."""

from __future__ import annotations

import csv
from contextlib import suppress
from typing import Any

# A comment to whoever reads exclusions. The page writes such lines: `assets/choices.js`.
_START = "# review:"
_VERDICTS = ("", "accepted", "seen")


def read_reviews(text: str) -> list[dict[str, Any]]:
    r"""Return what an exclusion file tells of reviews; other lines are left aside.

    A line is ``# review: amos_0004,accepted,1234,"a note"``: the sample, what was said of it, how
    many changed voxels it had then, and a note. Of several lines of a sample the last counts.

    Parameters
    ----------
    text : str
        The file, such as the page saves it.

    Returns
    -------
    list of dict
        By sample: ``sample``, ``verdict`` (``accepted``, ``seen`` or nothing), ``changed_voxels``
        and ``note``.

    Examples
    --------
    >>> read_reviews("sample,label\n# review: amos_0004,seen,12,small\n")
    [{'sample': 'amos_0004', 'verdict': 'seen', 'changed_voxels': 12, 'note': 'small'}]
    """
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        if not line.startswith(_START):
            continue
        with suppress(ValueError, csv.Error):
            cells = next(csv.reader([line.removeprefix(_START).strip()], strict=True))
            sample, verdict, n_changed, note = cells
            if sample and verdict in _VERDICTS and n_changed.isascii() and n_changed.isdecimal():
                found[sample] = {
                    "sample": sample,
                    "verdict": verdict,
                    "changed_voxels": int(n_changed),
                    "note": note,
                }
    return [found[sample] for sample in sorted(found)]
