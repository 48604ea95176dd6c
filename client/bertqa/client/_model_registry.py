"""What is known of the versions that a server serves."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from weakref import WeakValueDictionary

from bertqa import _defaults
from bertqa.artifact import (
    END_LOGITS,
    INPUTS,
    START_LOGITS,
    TOKEN_TYPE_IDS,
    ModelInfo,
)
from bertqa.client._flights import Flights
from bertqa.errors import InvalidOptionError, NotAQAModelError
from bertqa.qa import Pace, QATokenizer, Windows, no_pace
from bertqa.transport import ModelMetadata

_INPUT_TYPES = dict.fromkeys(INPUTS, "INT64")
_OPTIONAL = {TOKEN_TYPE_IDS}  # Many families have no token types.
_OUTPUT_TYPES = dict.fromkeys((START_LOGITS, END_LOGITS), "FP32")

# Those in use, by process and digest: one takes 7 MB, and the models of a hundred clients may all
# have the same. A lock of one may be held for ever in a process that is forked meanwhile.
_in_use: WeakValueDictionary[tuple[int, str], QATokenizer] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to make windows for a model; equal for two versions that take the same windows.

    Attributes:
        tokenizer: The tokenizer.
        max_seq_len: The default length of a window, in tokens.
        doc_stride: The default overlap of neighbouring windows, in tokens.
        limit: The greatest `max_seq_len` that the model takes, None where that is not known.
        inputs: The names of the model's inputs.
    """

    tokenizer: QATokenizer
    max_seq_len: int
    doc_stride: int
    limit: int | None
    inputs: tuple[str, ...] = INPUTS

    def windows(
        self,
        question: str,
        context: str,
        *,
        max_seq_len: int | None,
        doc_stride: int | None,
        max_question_len: int,
        pace: Pace = no_pace,
    ) -> Windows:
        """Cut a context into windows.

        Args:
            question: The question, which leads each window.
            context: The context.
            max_seq_len: The length of a window, in tokens; None is the model's own.
            doc_stride: The overlap of neighbouring windows, in tokens; None is the model's own.
            max_question_len: How many tokens of the question are kept.
            pace: Called between the steps where a text is long; see `QATokenizer.windows`.

        Returns:
            At least one window.

        Raises:
            InvalidQuestionError: The question is empty or not a text.
            InvalidContextError: The context is empty or not a text.
            InvalidOptionError: A length is not valid, or above the model's limit.
        """
        if max_seq_len is None:
            max_seq_len = self.max_seq_len
        elif self.limit is not None and max_seq_len > self.limit:
            raise InvalidOptionError(
                f"max_seq_len is {max_seq_len}, but this model takes at most {self.limit} tokens."
            )
        if doc_stride is None:
            doc_stride = min(self.doc_stride, max_seq_len // 2)
        return self.tokenizer.windows(
            question,
            context,
            max_seq_len=max_seq_len,
            doc_stride=doc_stride,
            max_question_len=max_question_len,
            pace=pace,
            inputs=self.inputs,
        )


class ModelRegistry:
    """Remembers the specs of versions. Safe to use from several threads.

    Args:
        tokenizer: The tokenizer for all versions; None takes that of each version, which all with
            the same share, also those of other registries.

    Attributes:
        tokenizer: The same.
        flights: The fetches of metadata that are under way.
        served: The versions that the server listed last, none where that is not known.
        has_answered: Whether any version has answered a question. What describes the model may be
            another address than the one that answers.
    """

    def __init__(self, tokenizer: QATokenizer | None = None) -> None:
        self.flights: Flights[ModelSpec] = Flights()
        self.tokenizer = tokenizer
        self.served: tuple[int, ...] = ()
        self.has_answered = False
        self._tokenizers: dict[str, QATokenizer] = {}
        self._specs: dict[int | None, ModelSpec] = {}
        self._met: set[int | None] = set()
        self._lock = threading.Lock()
        self._decoding = threading.Lock()

    def get(self, version: int | None) -> ModelSpec | None:
        """Return what is known of a version, or of the default one.

        Args:
            version: The number; None for the server's default.

        Returns:
            What is known, None where that is nothing or was forgotten.
        """
        with self._lock:
            return self._specs.get(version)

    def forget(self) -> None:
        """Forget all specs: the server may be another one now."""
        with self._lock:
            self._specs.clear()
            self.served = ()

    def forget_default(self, spec: ModelSpec) -> None:
        """Forget the spec of the server's default version, if it is still this one.

        Args:
            spec: What was the spec of the default version.
        """
        with self._lock:
            if self._specs.get(None) == spec:
                del self._specs[None]

    def has_met(self, version: int | None) -> bool:
        """Whether a version was ever learned; `forget` does not change this.

        Args:
            version: The number; None for the server's default.

        Returns:
            Whether it was learned.
        """
        with self._lock:
            return version in self._met

    @property
    def has_met_any(self) -> bool:
        """Whether any version of the model was ever learned; `forget` does not change this."""
        with self._lock:
            return bool(self._met)

    def learn(self, version: int | None, metadata: ModelMetadata) -> ModelSpec:
        """Remember a version.

        Args:
            version: The version; None is the server's default, which is the highest.
            metadata: The server's description of it.

        Returns:
            Its spec.

        Raises:
            NotAQAModelError: The model lacks an input, an output, or a tokenizer, or has an input
                that a client cannot fill.
        """
        _check_signature(metadata)
        spec = self._spec(metadata)
        with self._lock:
            self._specs[version] = spec
            self._met.add(version)
            if version is None and metadata.versions:
                self.served = tuple(sorted(metadata.versions))
                self._specs[max(metadata.versions)] = spec
        return spec

    def make_default(self, spec: ModelSpec) -> None:
        """Note that the server's default version is this one now.

        Args:
            spec: The version that the server answers with by default.
        """
        with self._lock:
            self._specs[None] = spec

    def _spec(self, metadata: ModelMetadata) -> ModelSpec:
        inputs = tuple(name for name in INPUTS if name in metadata.inputs)
        if self.tokenizer is not None:
            return ModelSpec(
                self.tokenizer,
                _defaults.MAX_SEQ_LEN,
                _defaults.DOC_STRIDE,
                limit=None,
                inputs=inputs,
            )
        info = ModelInfo.from_rt_info(metadata.rt_info)
        digest = info.tokenizer_sha256
        with self._decoding:
            tokenizer = self._tokenizers.get(digest) or _in_use.get((os.getpid(), digest))
            if tokenizer is None:
                tokenizer = QATokenizer.from_json(info.tokenizer_json)
            self._tokenizers[digest] = _in_use[os.getpid(), digest] = tokenizer
        return ModelSpec(
            tokenizer,
            info.max_seq_len,
            info.doc_stride,
            limit=info.max_seq_len,
            inputs=inputs,
        )


def _check_signature(metadata: ModelMetadata) -> None:
    for kind, wanted, found in (
        ("input", _INPUT_TYPES, metadata.inputs),
        ("output", _OUTPUT_TYPES, metadata.outputs),
    ):
        for name, datatype in wanted.items():
            if name in _OPTIONAL and name not in found:
                continue
            if name not in found:
                raise NotAQAModelError(
                    f"The model {metadata.name!r} is not a question-answering model: it has no "
                    f"{kind} {name!r}, only {', '.join(sorted(found)) or 'none'}."
                )
            if found[name] != datatype:
                raise NotAQAModelError(
                    f"The model {metadata.name!r} is not a question-answering model: its {kind} "
                    f"{name!r} is {found[name]}, but it has to be {datatype}."
                )
    unknown = sorted(metadata.inputs.keys() - _INPUT_TYPES.keys())
    if unknown:
        raise NotAQAModelError(
            f"The model {metadata.name!r} cannot be asked: a client cannot fill its input "
            f"{unknown[0]!r}."
        )
