"""The scores of each question, packed into a few bytes of text for a version's manifest.

The text is base64 of zlib's form of: the number of distinct F1 scores (uint32) and these scores
(float64); then for each question the number of its F1 among them (uint32), a bit for its exact
match, and the first five bytes of the sha256 of its id. Numbers are little-endian.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertqa.artifact import Evidence, Scores
from bertqa.errors import DataError
from bertqa.evaluation._squad import SquadDataset
from bertqa.evaluation._statistics import Interval, bootstrap_mean

_ID_BYTES = 5
_MOST_BYTES = 18
"""What a question takes at most, unpacked: an F1 of its own (8), its number (4), a bit, its id."""


@dataclass(frozen=True, slots=True, eq=False)
class QuestionScores:
    """Exact match and F1 of each question of a data set, in its order.

    Attributes:
        dataset_sha256: The digest of the data set, `SquadDataset.sha256`.
        ids: The first five bytes of the sha256 of each question's id.
        exact_match: Whether the answer is exactly right `[n]`.
        f1: F1 from 0 to 1 `[n]`.
    """

    dataset_sha256: str
    ids: tuple[bytes, ...]
    exact_match: NDArray[np.bool_]
    f1: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, each: Sequence[tuple[float, float]], dataset: SquadDataset) -> QuestionScores:
        """Return the scores of a data set's questions.

        Args:
            each: Exact match and F1 of each question, from 0 to 1, as `score_each` returns them.
            dataset: The questions.
        """
        exact, f1 = zip(*each, strict=True)
        return cls(
            dataset.sha256,
            tuple(hashlib.sha256(one.id.encode()).digest()[:_ID_BYTES] for one in dataset),
            np.array(exact, dtype=np.bool_),
            np.array(f1, dtype=np.float64),
        )

    @classmethod
    def read(cls, evidence: Evidence, scores: Scores) -> QuestionScores:
        """Unpack what a manifest has.

        Args:
            evidence: The manifest's packed scores.
            scores: The manifest's scores, of the same questions.

        Returns:
            The scores of each question.

        Raises:
            DataError: They are damaged, or are not of as many questions as `scores`.
        """
        try:
            return cls._unpack(evidence, scores.questions)
        except (ValueError, IndexError, zlib.error, binascii.Error) as error:
            raise DataError(
                f"The scores of the {scores.questions} questions of {scores.dataset} are damaged "
                "in the manifest."
            ) from error

    @classmethod
    def _unpack(cls, evidence: Evidence, count: int) -> QuestionScores:
        packed = base64.b64decode(evidence.questions, validate=True)
        data = zlib.decompressobj().decompress(packed, 4 + count * _MOST_BYTES)
        distinct = int(np.frombuffer(data, "<u4", 1)[0])
        values = np.frombuffer(data, "<f8", distinct, offset=4)
        at = 4 + values.nbytes
        numbers = np.frombuffer(data, "<u4", count, offset=at)
        at += numbers.nbytes
        bits = np.frombuffer(data, np.uint8, (count + 7) // 8, offset=at)
        at += bits.nbytes
        if len(data) != at + count * _ID_BYTES or not ((values >= 0) & (values <= 1)).all():
            raise ValueError("not the scores of so many questions")
        return cls(
            evidence.dataset_sha256,
            tuple(data[begin : begin + _ID_BYTES] for begin in range(at, len(data), _ID_BYTES)),
            np.unpackbits(bits, count=count).astype(np.bool_),
            values[numbers],
        )

    def pack(self) -> Evidence:
        """Return what goes into a manifest: about 7 bytes a question, and 10 as text."""
        values, numbers = np.unique(self.f1, return_inverse=True)
        parts = (
            np.array([len(values)], "<u4"),
            values.astype("<f8"),
            numbers.astype("<u4"),
            np.packbits(self.exact_match),
        )
        data = b"".join([*(part.tobytes() for part in parts), *self.ids])
        return Evidence(self.dataset_sha256, base64.b64encode(zlib.compress(data, 9)).decode())

    def change_to(self, other: QuestionScores) -> Interval:
        """Return by how much F1 is higher in other scores of the same questions.

        Args:
            other: The other scores.

        Returns:
            The change in points, with its interval (paired bootstrap over the questions).

        Raises:
            DataError: They are scores of other questions.
            ModuleNotFoundError: scipy is not installed.
        """
        if (self.dataset_sha256, self.ids) != (other.dataset_sha256, other.ids):
            raise DataError("The scores are not those of the same questions.")
        return bootstrap_mean(100 * (other.f1 - self.f1))
