"""How many examples a fuzzer tries: few with all other tests, many in ``make fuzz``."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

_EXAMPLES: Final = int(os.environ.get("ESTATS_FUZZ_EXAMPLES", "12"))

#: Decorates every fuzzer.
fuzzed: Final = settings(
    max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck)
)
#: Likewise one whose every example takes a good part of a second.
fuzzed_slowly: Final = settings(fuzzed, max_examples=max(2, _EXAMPLES // 8))
