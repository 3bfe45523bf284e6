"""How much work a run of the measurements puts into its figures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """``pairs`` of measurements for a comparison, each of ``seconds``; ``minutes`` of churn.

    ``quick`` asks for small inputs: enough to see that everything runs, not to quote.
    """

    pairs: int = 7
    seconds: int = 2
    minutes: float = 10
    quick: bool = False
