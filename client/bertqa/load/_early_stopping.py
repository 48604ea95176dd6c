"""How many questions it takes to be sure of a percentile: the rule of MLPerf's early stopping."""

from __future__ import annotations

import math

CONFIDENCE = 0.99


def questions_needed(over: int, percent: float) -> int:
    """Return of how many questions so many may be over a limit that is to hold for the others.

    The rule is that of MLCommons' LoadGen (`MinPassingQueriesFinder` in loadgen/early_stopping.cc
    of mlcommons/inference, with its confidence of 0.99 and its tolerance of 0): the fewest of
    which `over` or fewer would be over the limit with a probability below 1 %, if just
    `100 - percent` percent of all were. As there, questions count as independent of each other.

    Args:
        over: How many took longer.
        percent: The percentile, such as 99.
    """
    from scipy import special

    needed: float = special.bdtrin(over, 1 - CONFIDENCE, 1 - percent / 100)
    return math.ceil(needed)


def is_kept(asked: int, over: int, percent: float) -> bool | None:
    """Return whether a limit holds for so many percent of the questions, beyond chance.

    Args:
        asked: How many were asked.
        over: How many of them took longer.
        percent: The percentile, such as 99.

    Returns:
        True where LoadGen's early stopping has it hold; False where so many would be over the limit
        with a probability below 1 % if it held; None where more questions have to decide.
    """
    from scipy import special

    if asked >= questions_needed(over, percent):
        return True
    at_least = special.bdtrc(over - 1, asked, 1 - percent / 100) if over else 1.0
    return False if at_least < 1 - CONFIDENCE else None
