"""What is done on every kernel: real traffic, held against what the kernel itself says of it.

    python -m tests.machines.examination FOLDER

leaves in FOLDER the tests' words, their comparisons, the hooks that are missing, and a database.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bpf.btf import Btf
from bpf.loader import is_available
from bpf.probes import PROBES

WORDS, COMPARISONS, HOOKS, DATABASE = "pytest.txt", "comparisons.json", "missing.json", "flows.db"

_WITNESS: Final = "tests/kernel/test_witness.py::test_"
#: Those that do not mind a slow machine: one that is emulated repeats segments without any loss.
TESTS: Final = (
    "tests/kernel/test_available.py::test_each_variable_has_values_or_its_missing_hook",
    f"{_WITNESS}idle_connections_read_as_the_kernel_says",
    f"{_WITNESS}the_final_row_is_the_last_word_of_the_kernel",
    f"{_WITNESS}the_last_acknowledgement_after_a_pause_is_not_forgotten",
    f"{_WITNESS}retransmissions_add_up_to_the_sum_the_namespace_keeps",
    "tests/kernel/test_backfill.py::test_connections_from_before_are_there_with_the_kernels_totals",
    "tests/kernel/test_scripts.py",
    "tests/kernel/test_bounds.py::test_the_programs_track_no_more_than_they_may",
    "tests/kernel/test_bounds.py::test_who_comes_back_has_another_name_and_the_same_cookie",
    # The programs as they are compiled for a budget: no other test here loads these.
    "tests/kernel/test_budget.py::test_who_is_left_out_is_told_by_the_hash_of_its_cookie[3]",
)


def examine(folder: Path) -> int:
    """Run the tests; the exit code is theirs."""
    missing = [probe.function for probe in PROBES if not is_available(probe, Btf())]
    (folder / HOOKS).write_text(json.dumps(missing))
    with tempfile.TemporaryDirectory(prefix="estats-examination-") as base:
        pytest = [sys.executable, "-m", "pytest", "-m", "kernel", "-rs", "--tb=short"]
        pytest += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]  # nothing is written here
        pytest += [f"--basetemp={base}/tests", f"--validation={folder / COMPARISONS}", *TESTS]
        with (folder / WORDS).open("w") as words:
            code = subprocess.run(pytest, stdout=words, stderr=words, check=False).returncode
        for database in Path(base).glob(f"tests/available*/{DATABASE}"):
            shutil.copyfile(database, folder / DATABASE)
    return code


if __name__ == "__main__":
    sys.exit(examine(Path(sys.argv[1])))
