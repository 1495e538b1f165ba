"""Run by a Python that has MONAI, nnU-Net, nbclient and ipykernel: execute a notebook elsewhere.

    python check_notebook.py NOTEBOOK [--write]

Prints a JSON object as the last line: what each cell of code says, by the cell's id. With `--write`
the notebook keeps its outputs, which the documents show.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory


def main() -> None:
    import nbformat
    from nbclient import NotebookClient

    file = Path(sys.argv[1])
    # The programs that come with this Python come after those that are found already.
    os.environ["PATH"] += f"{os.pathsep}{Path(sys.executable).parent}"
    notebook = nbformat.read(file, as_version=4)
    with TemporaryDirectory() as folder:
        settings = {"timeout": 900, "record_timing": False, "coalesce_streams": True}
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, resources=place, **settings).execute()
    said = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Libraries warn there of the machine they are on.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            texts = (o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs)
            said[cell.id] = "".join(texts)
    if "--write" in sys.argv:
        nbformat.write(notebook, file)
    sys.stdout.write(f"\n{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
