"""Run by a Python that has mlcroissant: whether it takes a Croissant file, and its records.

    python check_croissant.py FILE

Prints as the last line a JSON object: errors, and ID, seq, volume and age of each record.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import mlcroissant

    dataset = mlcroissant.Dataset(sys.argv[1])
    text = {name: f"samples/{name}" for name in ("ID", "seq", "volume", "age")}
    records = [
        {name: record[key] for name, key in text.items()} for record in dataset.records("samples")
    ]
    errors = sorted(dataset.metadata.ctx.issues.errors)
    sys.stdout.write(f"\n{json.dumps({'errors': errors, 'records': records})}\n")


main()
