"""Run by a Python that has SimpleITK: where it puts the voxels of each NIfTI file named.

    python check_simpleitk.py FILE ...

Prints a JSON list as the last line: spacing, origin and direction (LPS+), or null where it refuses.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import SimpleITK

    found = []
    for path in sys.argv[1:]:
        try:
            image = SimpleITK.ReadImage(path)
        except RuntimeError:
            found.append(None)
        else:
            found.append([image.GetSpacing(), image.GetOrigin(), image.GetDirection()])
    sys.stdout.write(f"\n{json.dumps(found)}\n")


main()
