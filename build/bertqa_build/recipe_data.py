"""The data of a recipe: read once, split where a share is held out, and checked for leakage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bertqa.errors import DataError
from bertqa.evaluation import EVALUATION_SPLITS, SquadDataset, SquadQuestion, read_address
from bertqa_build.data import TrainingWindows
from bertqa_build.recipe import DataSource, Recipe
from bertqa_build.wording import some_of

_TRAINING_SPLITS = ("train",)


class RecipeData:
    """The data of a recipe; each source is read once, when it is first asked for.

    Attributes:
        windows: Windows that were made of them, for the next stage that needs the same.

    Args:
        recipe: The recipe: what relative paths start from.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.windows: dict[Hashable, TrainingWindows] = {}
        self._datasets: dict[tuple[str, tuple[str, ...]], SquadDataset] = {}

    def dataset(
        self, source: DataSource, splits: tuple[str, ...] = _TRAINING_SPLITS
    ) -> SquadDataset:
        """Return the questions of one source, whole.

        Args:
            source: A file, a directory or a data set of the hub.
            splits: Which split to take where the source names none, best first.

        Raises:
            DataError: The source cannot be read, or is not like SQuAD.
        """
        key = key_of(source), splits
        if key not in self._datasets:
            self._datasets[key] = read_address(self.recipe.address(source), splits=splits)
        return self._datasets[key]

    def questions(self, sources: Sequence[DataSource]) -> list[SquadQuestion]:
        """Return all questions of several sources, in order, but for those that are held out.

        Args:
            sources: Files, directories or data sets of the hub.

        Raises:
            DataError: A source cannot be read, or is not like SQuAD.
        """
        return [
            question
            for source in sources
            for question in self.dataset(source)
            if not self._is_held(question)
        ]

    @cached_property
    def evaluation(self) -> SquadDataset:
        """The questions to evaluate on.

        Raises:
            DataError: They cannot be read, are not like SQuAD, or there is none to hold out.
        """
        source = self.recipe.data.evaluation
        if source is not None:
            return self.dataset(source, EVALUATION_SPLITS)
        kept = [each for each in self._trained if self._is_held(each)]
        names = ", ".join(self.dataset(each).name for each in self.recipe.data.train)
        return SquadDataset(
            f"{100 * (self.recipe.data.held_out or 0):g}% of {names}", tuple(_unique(kept))
        )

    @property
    def warnings(self) -> list[str]:
        """What was left out of the sources that were read, in sentences."""
        return [each.warning for each in self._datasets.values() if each.warning]

    @cached_property
    def overlap(self) -> Overlap:
        """What the evaluation and what is learnt from have in common."""
        recipe = self.recipe
        sources = [
            *(recipe.data.train if recipe.trainings else ()),
            *(recipe.calibration if recipe.makes_int8 else ()),
        ]
        return Overlap.between(self.evaluation, self.questions(sources))

    @property
    def _trained(self) -> list[SquadQuestion]:
        return [each for source in self.recipe.data.train for each in self.dataset(source)]

    def _is_held(self, question: SquadQuestion) -> bool:
        return bool(self._held_contexts) and _plain(question.context) in self._held_contexts

    @cached_property
    def _held_contexts(self) -> frozenset[str]:
        """The contexts to evaluate on: drawn by the seed until they have enough questions."""
        share = self.recipe.data.held_out
        if share is None:
            return frozenset()
        questions = self._trained
        counts = Counter(_plain(each.context) for each in questions)
        contexts = list(counts)
        if len(contexts) < 2:
            raise DataError(
                "All questions of data.train are on one context, of which none can be held out to "
                "evaluate on: name other data to evaluate on."
            )
        held: list[str] = []
        kept = 0
        for index in np.random.default_rng(self.recipe.seed).permutation(len(contexts))[:-1]:
            if kept >= share * len(questions):
                break
            held.append(contexts[index])
            kept += counts[contexts[index]]
        return frozenset(held)


@dataclass(frozen=True, slots=True)
class Overlap:
    """What the questions to evaluate on and those that a model learns from have in common.

    Attributes:
        total: How many questions are evaluated on.
        repeated: The ids of those that are learnt from too, with the same context.
        contexts: How many others are on a context that is learnt from.
    """

    total: int
    repeated: tuple[str, ...]
    contexts: int

    @classmethod
    def between(cls, evaluation: SquadDataset, learnt: Iterable[SquadQuestion]) -> Overlap:
        """Return what questions share, whatever their ids, case and white space are.

        Args:
            evaluation: The questions to evaluate on.
            learnt: The questions to learn from.
        """
        pairs = {_folded(each) for each in learnt}
        contexts = {context for _, context in pairs}
        ours = [(each.id, _folded(each)) for each in evaluation]
        repeated = tuple(name for name, pair in ours if pair in pairs)
        shared = sum(pair[1] in contexts for _, pair in ours)
        return cls(len(ours), repeated, shared - len(repeated))

    @property
    def sentence(self) -> str:
        """What is in common, as a sentence; empty where nothing is."""
        if self.repeated:
            return (
                f"Leakage: {len(self.repeated)} of the {self.total} questions to evaluate on are "
                f"in the data to learn from too (questions {some_of(self.repeated)})."
            )
        if self.contexts:
            return (
                f"{self.contexts} of the {self.total} questions to evaluate on are on contexts "
                "that other questions to learn from have too."
            )
        return ""

    def require_none(self, *, allowed: bool) -> None:
        """Refuse questions that are both learnt from and evaluated on.

        Args:
            allowed: Whether they are accepted.

        Raises:
            DataError: There are some.
        """
        if self.repeated and not allowed:
            raise DataError(
                f"{self.sentence} Scores on them say nothing of others: leave them out of one of "
                "the two, or accept them with --allow-leakage."
            )


def key_of(source: DataSource) -> str:
    """Return a text by which a source is known among those of a recipe.

    Args:
        source: A file, a directory or a data set of the hub.
    """
    return source if isinstance(source, str) else source.model_dump_json()


def _folded(question: SquadQuestion) -> tuple[str, str]:
    return _plain(question.question), _plain(question.context)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _unique(questions: Iterable[SquadQuestion]) -> Iterable[SquadQuestion]:
    """Yield questions of several sources with ids that are all different."""
    seen: set[str] = set()
    for each in questions:
        name, number = each.id, 1
        while name in seen:
            number += 1
            name = f"{each.id} ({number})"
        seen.add(name)
        yield each if name == each.id else replace(each, id=name)
