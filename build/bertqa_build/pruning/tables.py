"""Where a latency table comes from: a file that was handed over, the cache, or a measurement."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import sha256_of
from bertqa.errors import InvalidOptionError
from bertqa_build.bench.architectures import ARCHITECTURES
from bertqa_build.bench.models import random_model
from bertqa_build.checkpoint import load_checkpoint, require_positions
from bertqa_build.errors import BuildError, CheckpointError
from bertqa_build.families import family_of, model_types
from bertqa_build.pruning.blocks import Encoder, Precision
from bertqa_build.pruning.description import Description, describe
from bertqa_build.pruning.latency import LatencyTable, Place, measure, place_here
from bertqa_build.pruning.sizes import sizes_of
from bertqa_build.recipe import Recipe

CACHE = "latency-tables"

_ASKED = ("batch", "tokens", "precision", "threads")
_OF_THE_MODEL = ("hidden", "heads", "neurons")
_OF_THE_MACHINE = ("cpu", "openvino")

logger = logging.getLogger(__name__)


def encoder_of(config: Any, source: str) -> Encoder:
    """Return the shape of a model's encoder.

    Args:
        config: The model's configuration.
        source: The checkpoint's name, for messages.

    Raises:
        CheckpointError: The family cannot be pruned.
    """
    family = family_of(config.model_type)
    if family.layer_names is None:
        able = ", ".join(each for each in model_types() if family_of(each).layer_names is not None)
        raise CheckpointError(
            f"The checkpoint {source} cannot be pruned: {family.name} has another attention than "
            f"that of BERT. These can: {able}. Name another checkpoint, or leave `pruning:` out of "
            "the recipe."
        )
    return Encoder(config.hidden_size, config.num_attention_heads, family.neurons(config))


def measure_for_model(
    model: str,
    *,
    batch: int,
    tokens: int,
    precision: Precision,
    threads: int | None,
    on_progress: OnProgress = ignore,
) -> Description:
    """Measure a latency table on this machine.

    Args:
        model: A key of `ARCHITECTURES`, or the source of a checkpoint as a recipe names it.
        batch: Windows in a request.
        tokens: Tokens in a window.
        precision: That of the matrix products.
        threads: The cores that one request may use; None takes all.
        on_progress: Called with how far the measurement is.

    Returns:
        The table, and what it predicts for the model.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or its family cannot be pruned.
        BuildError: It has fewer positions than tokens.
        InvalidOptionError: The machine has fewer cores.
    """
    if threads is not None and threads > cores():
        raise InvalidOptionError(f"threads is {threads}, and this machine has {cores()} cores.")
    if model in ARCHITECTURES:
        plain = random_model(model)
    else:
        # The command has no windows, whose length is refused otherwise, but tokens.
        checkpoint = load_checkpoint(model, needs_head=False, max_seq_len=1)
        require_positions(checkpoint, f"tokens is {tokens}", tokens)
        plain = checkpoint.model
    encoder = encoder_of(plain.config, model)
    place = place_here(
        encoder, batch=batch, tokens=tokens, precision=precision, threads=threads or cores()
    )
    return describe(_measured(place, on_progress), sizes_of(plain))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class TableSource:
    """The latency table of a recipe, which is read or measured when it is first needed.

    Args:
        recipe: The recipe, with a `pruning` section.
        encoder: The shape of the encoder that is pruned.
        work_dir: Where tables that were measured are kept.
        strict: Whether a table of another CPU, or of another OpenVINO, is refused.

    Attributes:
        place: Where the latencies are measured.
        is_of_this_machine: Whether that is a machine like this one.
        digest: The digest of the table that was handed over, or else of the place.

    Raises:
        BuildError: The table that was handed over is not one for this recipe, or more cores are
            asked for than this machine has.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder, work_dir: Path, *, strict: bool) -> None:
        assert recipe.pruning is not None
        at, path = recipe.pruning.at, recipe.latency_table
        self._given = None if path is None else LatencyTable.read(path)
        all_threads = cores() if self._given is None else self._given.place.threads
        here = place_here(
            encoder,
            batch=at.batch,
            tokens=at.tokens,
            precision=at.precision,
            threads=at.threads or all_threads,
        )
        self.place = here if self._given is None else self._given.place
        self.is_of_this_machine = self.place == here and here.threads <= cores()
        if path is not None:
            _require_fitting(path, self.place, here, strict=strict)
            self.digest = sha256_of(path)
            return
        if self.place.threads > cores():
            raise BuildError(
                f"The recipe asks for {self.place.threads} threads (pruning.at), and this machine "
                f"has {cores()} cores to measure with. Make a latency table on the machine that "
                "the versions are for (`bert-qa bench latency-table`), and name it in "
                "pruning.latency_table."
            )
        # The place, not the times: what is measured twice differs a little.
        self.digest = hashlib.sha256(
            json.dumps(asdict(self.place), sort_keys=True).encode()
        ).hexdigest()
        self.path = work_dir / CACHE / f"{self.digest[:12]}.json"

    def table(self, on_progress: OnProgress = ignore, *, keep: bool = True) -> LatencyTable:
        """Return the table.

        Args:
            on_progress: Called with how far its measurement is.
            keep: Whether a table that is measured is written to the work directory.

        Raises:
            BuildError: The one that was kept is damaged.
        """
        if self._given is None and self.path.is_file():
            self._given = _kept(self.path, self.place)
        if self._given is None:
            self._given = _measured(self.place, on_progress)
            if keep:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._given.write(self.path)
        return self._given


def _kept(path: Path, place: Place) -> LatencyTable:
    """Return a table that an earlier build measured, and refuse what is not that any more."""
    try:
        found = LatencyTable.read(path)
        if found.place == place:
            return found
        reason = "it was measured for another request or model"
    except BuildError as error:
        reason = error.detail or str(error)
    raise BuildError(
        f"The latency table {path}, which an earlier build measured, is damaged. Remove it, and "
        "run the same command again: it is measured again.",
        detail=reason,
    )


def _measured(place: Place, on_progress: OnProgress) -> LatencyTable:
    stage = f"Measuring latencies in {place.precision}"
    return measure(place, lambda done, of: on_progress(Progress(stage, done, of)))


def _require_fitting(path: Path, given: Place, here: Place, *, strict: bool) -> None:
    """Refuse a table that was handed over for another model, request or, if strict, machine."""
    found, wanted = asdict(given), asdict(here)
    for names, what in ((_OF_THE_MODEL, "the checkpoint"), (_ASKED, "pruning.at")):
        for name in names:
            if found[name] != wanted[name]:
                raise BuildError(
                    f"The latency table {path} was measured for {name} {found[name]}, and {what} "
                    f"has {name} {wanted[name]}. Measure another one with `bert-qa bench "
                    "latency-table`."
                )
    for name in _OF_THE_MACHINE:
        if found[name] != wanted[name]:
            text = (
                f"The latency table {path} was measured with {found[name]}, and this machine has "
                f"{wanted[name]}."
            )
            if strict:
                raise BuildError(
                    f"{text} Measure one here, or leave --strict out to prune for that machine."
                )
            logger.warning("%s The versions are pruned for the speed there.", text)
