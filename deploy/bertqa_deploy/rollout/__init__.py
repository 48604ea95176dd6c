"""One state machine for every target: a rollout in steps, its analysis, and the way back."""

from bertqa_deploy.rollout._analysis import (
    Held,
    Judgement,
    Limits,
    OnInconclusive,
    Sides,
    Verdict,
    judge,
)
from bertqa_deploy.rollout._counts import Counts, Restarts, Tally, counts_of
from bertqa_deploy.rollout._evidence import (
    Connect,
    Copies,
    compared_on,
    judge_comparison,
    judge_copies,
    shadowed_by,
)
from bertqa_deploy.rollout._moved import Moved, Outcome
from bertqa_deploy.rollout._plan import AT_ONCE, Plan
from bertqa_deploy.rollout._rollout import AFTER_A_HOLD, Evidence, OnStep, Rollout
from bertqa_deploy.rollout._standing import Phase, Standing
from bertqa_deploy.rollout._state import Memory, State, ramp, with_traffic
from bertqa_deploy.rollout._target import TrafficTarget

__all__ = [
    "AFTER_A_HOLD",
    "AT_ONCE",
    "Connect",
    "Copies",
    "Counts",
    "Evidence",
    "Held",
    "Judgement",
    "Limits",
    "Memory",
    "Moved",
    "OnInconclusive",
    "OnStep",
    "Outcome",
    "Phase",
    "Plan",
    "Restarts",
    "Rollout",
    "Sides",
    "Standing",
    "State",
    "Tally",
    "TrafficTarget",
    "Verdict",
    "compared_on",
    "counts_of",
    "judge",
    "judge_comparison",
    "judge_copies",
    "ramp",
    "shadowed_by",
    "with_traffic",
]
