"""Makes the pictures of the docs: ``python -m tests.pictures docs``.

Each module of this package that has a ``write(folder)`` writes its own to ``docs/pictures``.
"""

import sys
from importlib import import_module
from pathlib import Path


def main(docs: Path) -> None:
    """Write all of them."""
    folder = docs / "pictures"
    folder.mkdir(exist_ok=True)
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        write = getattr(import_module(f"tests.pictures.{path.stem}"), "write", None)
        if write is not None:
            write(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
