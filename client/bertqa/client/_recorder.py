"""Recording what versions answer in production, as evidence for the next switch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bertqa._checks import flag, real
from bertqa._checks import path as path_of
from bertqa._reason import reason_of
from bertqa.errors import BertQAError, InvalidOptionError
from bertqa.qa import Answer, normalize

_HASH_BYTES = 16
_SAMPLE_BITS = 32
_SHARE = real(0, 1)

logger = logging.getLogger(__name__)


class Recorder:
    """Appends a line of JSON for each answer, or for each pair of an answer and its shadow's.

    It is safe to use from several threads and, as each line is one write, processes. A failure to
    write is logged, once, and never fails an answer. As a context manager it closes the file.

    Args:
        path: The file, created where it does not exist.
        sample: The share of questions that are recorded, from 0 to 1; the same questions in every
            process.
        clear: Whether questions and answers are written as they are; otherwise they are hashed
            (BLAKE2b), as contexts are.
        contexts: Whether contexts are written as they are, too, so that `bert-qa switch --shadow`
            can ask another version the same; it needs `clear`.
        key: A secret key of at most 64 bytes, without which a hash hides a text from readers, but
            not from those who can guess it.

    Raises:
        InvalidOptionError: An argument is not valid, or the file cannot be opened.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample: float = 1.0,
        clear: bool = False,
        contexts: bool = False,
        key: bytes = b"",
    ) -> None:
        place = path_of("path", path)
        sample = _SHARE("sample", sample)
        clear, contexts = flag("clear", clear), flag("contexts", contexts)
        if contexts and not clear:
            raise InvalidOptionError("contexts=True needs clear=True.")
        if not isinstance(key, bytes):
            raise InvalidOptionError(f"key= is a {type(key).__name__}, but it has to be bytes.")
        if len(key) > hashlib.blake2b.MAX_KEY_SIZE:
            raise InvalidOptionError(
                f"The key has {len(key)} bytes, but {hashlib.blake2b.MAX_KEY_SIZE} are the most."
            )
        self._sample = sample
        self._clear = clear
        self._contexts = contexts
        self._key = key
        self._lock = threading.Lock()
        self._failed = False
        try:
            self._file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise InvalidOptionError(f"{place} cannot be written: {reason_of(error)}.") from error

    def record(
        self,
        question: str,
        context: str,
        answer: Answer,
        seconds: float | None = None,
        shadow: Answer | BertQAError | None = None,
        shadow_seconds: float | None = None,
    ) -> None:
        """Record an answer, if its question is in the sample.

        Args:
            question: The question.
            context: Its context.
            answer: The answer.
            seconds: How long it took, None where that was not measured.
            shadow: The shadow's answer or error, None where there is no shadow.
            shadow_seconds: How long the shadow took.
        """
        digest = self._hash(f"{question}\0{context}")
        if int(digest[: _SAMPLE_BITS // 4], 16) >= self._sample * 2**_SAMPLE_BITS:
            return
        line: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "question": question if self._clear else self._hash(question),
            "context": context if self._contexts else self._hash(context),
            "can_be_asked": self._contexts,
            "answer": self._described(answer, seconds),
        }
        if shadow is not None:
            line["shadow"] = self._described(shadow, shadow_seconds)
        self._write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file; what is recorded afterwards is dropped."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _described(self, outcome: Answer | BertQAError, seconds: float | None) -> dict[str, Any]:
        if isinstance(outcome, BertQAError):
            return {"error": type(outcome).__name__}
        text = outcome.text if self._clear else self._hash(normalize(outcome.text))
        described: dict[str, Any] = {
            "version": outcome.model_version,
            "text": text if outcome.text else "",
            "score": round(outcome.score, 6),
        }
        if seconds is not None:
            described["seconds"] = round(seconds, 6)
        return described

    def _hash(self, text: str) -> str:
        data = text.encode(errors="surrogatepass")
        return hashlib.blake2b(data, digest_size=_HASH_BYTES, key=self._key).hexdigest()

    def _write(self, line: str) -> None:
        with self._lock:
            if self._file < 0:
                return
            try:
                os.write(self._file, line.encode())
            except OSError as error:
                if not self._failed:
                    logger.warning("answers are not recorded: %s", error)
                self._failed = True
