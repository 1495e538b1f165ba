"""Print one of the README's two commands, so that CI runs exactly what people are told to run."""

import re
import sys
from pathlib import Path

BLOCKS = {"demo": 0, "tests": 1}


def main() -> None:
    """Print the named command: the first or the second shell block of the README."""
    text = Path("README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    sys.stdout.write(blocks[BLOCKS[sys.argv[1]]])


if __name__ == "__main__":
    main()
