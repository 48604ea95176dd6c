"""Moving traffic to other versions in steps, within limits, and back: the same for every target.

All that a rollout knows is in the target (see `Memory`): one that was killed is finished by the
same command, or undone by `back`, by any process.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bertqa._reason import reason_of
from bertqa.artifact import Split, format_split
from bertqa.errors import (
    BertQAError,
    ConfigChangedError,
    RepositoryBusyError,
)
from bertqa_deploy.errors import (
    DeployError,
    InconclusiveError,
    NothingToDoError,
    RolledBackError,
    SwitchedMeanwhileError,
    SwitchUnfinishedError,
)
from bertqa_deploy.rollout._analysis import Held, Judgement, OnInconclusive, Verdict
from bertqa_deploy.rollout._holding import hold, worst
from bertqa_deploy.rollout._moved import OUTCOMES, Moved, Outcome
from bertqa_deploy.rollout._plan import AT_ONCE, Plan
from bertqa_deploy.rollout._state import State, ramp, with_traffic
from bertqa_deploy.rollout._target import TrafficTarget

OnStep = Callable[[str], None]
# Judges a candidate beside the good version, both served, before any user reaches it.
Evidence = Callable[[int, int], Judgement]

# What can be done about a rollout that is held.
AFTER_A_HOLD = (
    "Run the same command again to measure again, with --on-inconclusive promote to continue "
    "without this evidence, or --back to return."
)

# After these nothing is undone: the traffic is another's, or is meant to stay.
_LEFT_AS_IT_IS = (
    ConfigChangedError,
    InconclusiveError,
    NothingToDoError,
    RepositoryBusyError,
    SwitchedMeanwhileError,
    SwitchUnfinishedError,
)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A way to move one target's traffic.

    Attributes:
        target: The target.
        plan: Steps, pauses and limits.
        evidence: What judges a candidate before it gets traffic, in this order.
        on_step: Is called with a sentence for each step.
        sleep: Waits for some seconds.
        now: Returns a time in seconds that never goes back.
    """

    target: TrafficTarget
    plan: Plan = field(default_factory=Plan)
    evidence: Sequence[Evidence] = ()
    on_step: OnStep = lambda _: None
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic

    def move(self, goal: Split) -> Moved:
        """Bring the traffic to a split, or finish such a rollout that was interrupted.

        Args:
            goal: Percents by version; those of 0 % count as left out.

        Returns:
            What it has come to.

        Raises:
            NothingToDoError: The traffic is so already.
            RolledBackError: A version did not prove itself; the traffic is where it was before.
            InconclusiveError: The evidence does not suffice; the traffic is held where it is.
            SwitchedMeanwhileError: Another process moved the traffic.
            SwitchUnfinishedError: The target took too long; the same command resumes.
            BertQAError: What the target raises where nothing was done yet.
        """
        goal = with_traffic(goal)
        self.target.check(goal)
        state = self.target.current()
        if state.memory.returning and goal == state.memory.goal:
            return self.back()
        state = replace(state, memory=state.memory.for_goal(goal))
        run = _Run(self, state, goal)
        if state.memory.goal is not None and goal == state.memory.good:
            with run.reporting():
                return run.undo()
        *between, _ = ramp(state.split, goal, self.plan.steps)
        for split in between:
            self.target.check(split)
        with run.reporting():
            return run.go(returning=False)

    def back(self) -> Moved:
        """Undo a rollout that is under way, else return to the split before the last one.

        A return that was interrupted is finished.

        Returns:
            What it has come to.

        Raises:
            NothingToDoError: There is no split to go back to.
            BertQAError: What `move` raises.
        """
        state = self.target.current()
        memory = state.memory
        undone = _Run(self, state, memory.good)
        with undone.reporting():
            if memory.goal is not None and not memory.returning:
                return undone.undo()
            goal = memory.way_back()
        self.target.check(goal)
        returned = _Run(replace(self, plan=Plan(), evidence=()), state, goal)
        with returned.reporting():
            return returned.go(returning=True)


class _Run:
    """One rollout under way."""

    def __init__(self, rollout: Rollout, state: State, goal: Split) -> None:
        self._rollout = rollout
        self._target = rollout.target
        self._plan = rollout.plan
        self._begun = rollout.now()
        self._start = self._state = state
        self._memory = state.memory
        self._goal = goal
        self._evidence: list[Judgement] = []
        self._held: list[Held] = []

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Add to an error that ends the block what the rollout has come to."""
        try:
            yield
        except DeployError as error:
            outcome = next(
                (found for kind, found in OUTCOMES.items() if isinstance(error, kind)),
                Outcome.UNFINISHED,
            )
            error.moved = self._result(outcome)
            raise

    def _result(self, outcome: Outcome) -> Moved:
        return Moved(
            outcome=outcome,
            target=self._target.name,
            split=self._state.split,
            previous=self._state.memory.previous,
            served=sorted(self._state.served),
            retired=sorted(self._start.served - self._state.served),
            evidence=self._evidence,
            held=self._held,
            seconds=round(self._rollout.now() - self._begun, 3),
        )

    def go(self, *, returning: bool) -> Moved:
        state, goal = self._state, self._goal
        if state.memory.goal is None and state.split == goal:
            if state.settled and state.served == self._target.kept(state, goal):
                raise NothingToDoError(
                    f"The split is {format_split(goal)} already: nothing was changed."
                )
            return self._finish()
        memory = self._memory = state.memory.begun(goal, returning=returning)
        if state.memory.goal == goal and not returning:
            self._warn_without_evidence()
        way = self._announced(self._way(resumed=state.memory.goal == goal))
        if self._plan.pause_seconds:
            for version in state.split:
                self._target.observe(version)
        try:
            self._apply(State(state.split, state.served | goal.keys(), memory))
            self._prove()
            for split in way:
                self._apply(State(split, self._state.served, memory))
                self._hold()
        except _LEFT_AS_IT_IS:
            raise
        except Exception as error:
            if self._is_untouched():
                raise
            self._roll_back(error)
        return self._finish()

    def undo(self) -> Moved:
        """Return to the good split, whatever is under way."""
        memory = self._memory
        serving = self._start.served | memory.good.keys()
        self._apply(State(memory.good, serving, memory))
        return self._finish()

    def _finish(self) -> Moved:
        """Note that the goal is reached, and take away what is not needed any more."""
        goal = self._goal
        kept = self._target.kept(self._start, goal)
        self._apply(State(goal, kept, self._memory.completed(goal)))
        return self._result(Outcome.MOVED)

    def _way(self, *, resumed: bool) -> list[Mapping[int, float]]:
        """Return the splits to come; where a rollout is resumed, it is held anew at its own."""
        split, memory = self._state.split, self._state.memory
        ahead = ramp(split, self._goal, self._plan.steps)
        if resumed and split == self._goal and not memory.good.keys() <= self._state.served:
            return []  # The good version is being taken away: all that is left is to finish.
        if resumed and split not in (memory.good, self._goal):
            return [split, *ahead]
        return list(ahead)

    def _announced(self, way: list[Mapping[int, float]]) -> list[Mapping[int, float]]:
        """Report the steps to come, and what judges them; return them."""
        plan = self._plan
        seconds, requests = plan.pause_seconds, plan.limits.requests
        judged = f": {seconds:g} s at each, which takes {requests} requests to be judged"
        if way and (seconds or plan.steps != AT_ONCE):
            splits = ", then ".join(map(format_split, way))
            self._rollout.on_step(f"the steps are {splits}{judged if seconds else ''}")
        return way

    def _warn_without_evidence(self) -> None:
        """Warn before a rollout that is held or was interrupted is completed unseen."""
        state = self._state
        is_between = state.split not in (state.memory.good, self._goal)
        if self._plan.pause_seconds or self._rollout.evidence:
            return
        if state.memory.held:
            why = f"was held ({state.memory.held.rstrip('.')})"
        elif is_between:
            why = f"was interrupted at {format_split(state.split)}"
        else:
            return
        self._rollout.on_step(
            f"warning: the rollout {why}, and this command measures nothing, as it has no --pause: "
            f"it leads to {format_split(self._goal)} without evidence"
        )

    def _apply(self, wanted: State) -> None:
        self._target.apply(wanted)
        self._state = wanted

    def _prove(self) -> None:
        """Have versions without traffic answer, and hear the evidence on all that gain some."""
        before, goal = self._state.memory.good, self._goal
        new = frozenset(goal) - frozenset(self._state.split)
        if new:
            self._target.prove(new)
        for candidate in sorted(goal):
            others = {version: share for version, share in before.items() if version != candidate}
            if not others or goal[candidate] <= before.get(candidate, 0):
                continue
            good = max(others, key=lambda version: (others[version], version))
            if self._state.split == goal and good not in self._state.served:
                continue  # Resumed at the goal, where it may have been taken away already.
            for judged in self._rollout.evidence:
                judgement = judged(good, candidate)
                self._evidence.append(judgement)
                self._rollout.on_step(f"{judgement.verdict}: {judgement.reason}")
                self._heed(judgement)

    def _hold(self) -> None:
        """Measure until the pause is over.

        Raises:
            DeployError: A limit was crossed.
            InconclusiveError: The evidence does not suffice, and the plan is to hold then.
        """
        if not self._plan.pause_seconds:
            return
        split, good, rollout = self._state.split, self._state.memory.good, self._rollout
        held = hold(self._target, split, good, self._plan, rollout.sleep, rollout.now)
        self._held += held
        for each in held:
            rollout.on_step(f"measured at {format_split(split)}: {each.reason}")
        self._heed(worst(held))

    def _heed(self, judgement: Judgement) -> None:
        if judgement.verdict is Verdict.SUCCESSFUL:
            return
        policy = self._plan.on_inconclusive
        if judgement.verdict is Verdict.FAILED or policy is OnInconclusive.ROLLBACK:
            raise DeployError(judgement.reason)
        if policy is OnInconclusive.HOLD:
            self._note(judgement.reason)
            raise InconclusiveError(
                f"Held at {format_split(self._state.split)}: {judgement.reason} {AFTER_A_HOLD}"
            )

    def _note(self, reason: str) -> None:
        """Have the target remember why the rollout is held."""
        memory = replace(self._memory, held=reason)
        try:
            self._apply(State(self._state.split, self._state.served, memory))
        except (ConfigChangedError, SwitchedMeanwhileError):
            raise
        except Exception as error:
            self._rollout.on_step(f"the reason cannot be noted: {_sentence(error)}")

    def _is_untouched(self) -> bool:
        """Return whether this rollout failed before its first effect."""
        if self._state is not self._start or self._start.memory.goal is not None:
            return False
        with contextlib.suppress(Exception):
            return self._target.current() == self._start
        return False

    def _roll_back(self, error: Exception) -> None:
        """Return to the good split, and raise why."""
        good = self._start.memory.good
        reason = _sentence(error)
        detail = error.detail if isinstance(error, BertQAError) else None
        self._goal = good
        try:
            self.undo()
        except Exception as second:
            why = _sentence(second)
            raise SwitchUnfinishedError(
                f"{reason} The traffic is to return to {_named(good)}, but that was not "
                f"completed{', for the same reason.' if why == reason else f': {why}'} Run the "
                "command with --back to finish it.",
                detail=detail,
            ) from error
        raise RolledBackError(
            f"The traffic was returned to {_named(good)}: {reason}", detail=detail
        ) from error


def _named(split: Split) -> str:
    return format_split(split) or "no version"


def _sentence(error: Exception) -> str:
    text = str(error) if isinstance(error, BertQAError) else reason_of(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."
