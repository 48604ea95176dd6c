"""Evidence about a candidate before any user reaches it: right answers, or copies of traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bertqa import QAClient
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.errors import BertQAError
from bertqa.evaluation import (
    Comparison,
    Samples,
    SquadDataset,
    System,
    compare,
    follow_log,
)
from bertqa.qa import normalize
from bertqa_deploy.rollout._analysis import (
    Judgement,
    Limits,
    Sides,
    Verdict,
    doubt_about_share,
    inconclusive,
    judge_latency,
    judge_share,
)
from bertqa_deploy.rollout._counts import P95
from bertqa_deploy.rollout._rollout import Evidence

_LEVEL = 0.05
_SIDES = Sides()

Connect = Callable[[int], AbstractContextManager[QAClient]]


def compared_on(
    dataset: SquadDataset,
    connect: Connect,
    limits: Limits,
    *,
    on_progress: OnProgress = ignore,
) -> Evidence:
    """Return evidence that asks a candidate and the good version the same questions.

    Args:
        dataset: The questions with their right answers.
        connect: Opens a client that reaches a version.
        limits: How many questions it takes, and how often the answers may differ.
        on_progress: Called with each question that is answered.
    """

    def judged(good: int, candidate: int) -> Judgement:
        with ExitStack() as opened:
            first, second = (
                System(f"version {version}", opened.enter_context(connect(version)), version)
                for version in (good, candidate)
            )
            comparison = compare(
                first, second, dataset, latency_questions=1, on_progress=on_progress
            )
        return judge_comparison(comparison, limits)

    return judged


def judge_comparison(comparison: Comparison, limits: Limits) -> Judgement:
    """Judge the second system of a comparison: it must not be worse beyond chance.

    Args:
        comparison: The good version and the candidate on the same questions.
        limits: How many questions it takes, and how often the answers may differ.

    Returns:
        Failed where the candidate's F1 is below by more than chance (paired bootstrap), it is
        exactly right less often by more than chance (McNemar), or it differs more often than is
        allowed; Inconclusive where there are too few questions.
    """
    change, test = comparison.f1_difference, comparison.exact_match_test
    fewer_right = test.only_first > test.only_second and test.p < _LEVEL
    if (change.is_beyond_chance and change.estimate < 0) or fewer_right:
        return Judgement(Verdict.FAILED, comparison.verdict)
    if comparison.questions < limits.requests:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"{comparison.dataset} has {comparison.questions} of at least {limits.requests} "
            "questions: add some, or lower --min-requests.",
        )
    differing = 0.0 if comparison.agreement is None else 100 - comparison.agreement
    if differing > limits.disagreement_percent:
        return Judgement(
            Verdict.FAILED,
            f"The versions disagree on {differing:.1f} % of {comparison.questions} questions, and "
            f"{limits.disagreement_percent:g} % are allowed.",
        )
    return Judgement(Verdict.SUCCESSFUL, comparison.verdict)


def shadowed_by(
    log: Path,
    seconds: float,
    connect: Connect,
    limits: Limits,
    *,
    on_progress: OnProgress = ignore,
) -> Evidence:
    """Return evidence that asks a candidate and the good version what users ask meanwhile.

    Args:
        log: The file of a `Recorder` of `contexts`, to which clients write at that time.
        seconds: For how long.
        connect: Opens a client that reaches a version.
        limits: How many questions it takes, how often the answers may differ or fail, and how much
            slower the candidate may be.
        on_progress: Called with each question that was asked.
    """

    def judged(good: int, candidate: int) -> Judgement:
        copies = Copies()
        with ExitStack() as opened:
            clients = [opened.enter_context(connect(version)) for version in (good, candidate)]
            for each in follow_log(log, seconds):
                if not each.can_be_asked:
                    copies.hashed += 1
                    continue
                if not copies.asked:  # Tokenizers are fetched at first contact.
                    _ask_both(clients, (good, candidate), each.question, each.context, Copies())
                _ask_both(clients, (good, candidate), each.question, each.context, copies)
                on_progress(Progress("Asking copies of traffic", copies.asked, None, "questions"))
        return judge_copies(copies, limits, Sides(f"version {candidate}", f"version {good}"))

    return judged


@dataclass(slots=True)
class Copies:
    """What copies of questions came to.

    Attributes:
        asked: The copies to which the good version had an answer.
        differing: How often the candidate's answer was another one.
        failed: How often it had none.
        hashed: The recorded questions that are hashes, so that they could not be asked.
        seconds: How long the good version took, and the candidate.
    """

    asked: int = 0
    differing: int = 0
    failed: int = 0
    hashed: int = 0
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def _ask_both(
    clients: list[QAClient], versions: tuple[int, int], question: str, context: str, copies: Copies
) -> None:
    texts: list[str | None] = []
    times = []
    for client, version in zip(clients, versions, strict=True):
        begun = time.monotonic()
        try:
            texts.append(normalize(client.answer(question, context, version=version).text))
        except BertQAError:
            texts.append(None)
        times.append(time.monotonic() - begun)
    if texts[0] is None:
        return
    copies.asked += 1
    if texts[1] is None:
        copies.failed += 1
        return
    copies.differing += texts[0] != texts[1]
    for taken, seconds in zip(copies.seconds, times, strict=True):
        taken.append(seconds)


def judge_copies(copies: Copies, limits: Limits, sides: Sides = _SIDES) -> Judgement:
    """Judge a candidate by copies of traffic.

    Args:
        copies: What they came to.
        limits: What it has to stay within.
        sides: What the two versions are called.

    Returns:
        Failed where it failed or differed more often than is allowed by more than chance, or its
        95th percentile of latency is too high; Inconclusive where there were too few copies, or
        chance may explain a share above its limit.
    """
    shares = (
        (copies.failed, limits.error_percent, "failed"),
        (copies.differing, limits.disagreement_percent, "were answered differently"),
    )
    for count, allowed, what in shares:
        sentence = f"Of {copies.asked} copies {{share}} {what}"
        crossed = judge_share(count, copies.asked, allowed, sentence)
        if crossed is not None:
            return crossed
    if copies.asked < limits.requests:
        more = (
            f"{copies.hashed} recorded questions are hashes: record with contexts=True"
            if copies.hashed
            else "a longer --shadow gets more"
        )
        return inconclusive(
            f"{sides.candidate} got {copies.asked} of at least {limits.requests} copies of "
            f"questions that {sides.good} answers: {more}"
        )
    for count, allowed, what in shares:
        doubt = doubt_about_share(count, copies.asked, allowed, "copies", what, "--shadow")
        if doubt is not None:
            return doubt
    if copies.failed == copies.asked:
        return inconclusive(f"{sides.candidate} answered none of {copies.asked} copies")
    good, candidate = map(_Times, copies.seconds)
    slow = judge_latency(good, candidate, limits, sides.good, "--shadow")
    return slow or Judgement(
        Verdict.SUCCESSFUL,
        f"Of {copies.asked} copies {100 * copies.differing / copies.asked:.1f} % were answered "
        f"differently, 95th percentile {candidate.quantile_ms(P95):.1f} ms against "
        f"{good.quantile_ms(P95):.1f} ms of {sides.good} ({limits.p95_factor:g} times that are "
        "allowed).",
    )


@dataclass(frozen=True, slots=True)
class _Times:
    """How long each of some questions took, as `Latencies`."""

    seconds: Sequence[float]

    @property
    def timed(self) -> int:
        return len(self.seconds)

    def quantile_ms(self, share: float) -> float:
        return 1000 * Samples(tuple(self.seconds)).quantile(share)

    def slower_than(self, milliseconds: float) -> int:
        return sum(1000 * each > milliseconds for each in self.seconds)
