"""``estats`` that keeps its bytecode in a folder of its own, not in the host's.

ESTATS_TEST_CACHE=/tmp/cache python -m tests.kernel.cached doctor
"""

import os
import sys
from pathlib import Path

from bpf import cache
from estats import main

if __name__ == "__main__":
    cache.FOLDER = Path(os.environ["ESTATS_TEST_CACHE"])  # type: ignore[misc]
    sys.exit(main())
