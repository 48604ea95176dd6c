"""A model's description of itself: the section `model_info` of an IR, or ONNX metadata."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from bertqa._checks import whole
from bertqa.errors import InvalidOptionError, NotAQAModelError

REQUIRED_KEYS = ("tokenizer_json", "tokenizer_sha256", "max_seq_len", "doc_stride")
TOKENIZER_JSON_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """All that a client needs to know of a model version, and what people want to know.

    `max_seq_len` and `doc_stride` are in tokens; `f1` and `exact_match` in percent, measured on
    `dataset`, or None where the version was not scored; `family` is the `model_type` of Hugging
    Face.
    """

    tokenizer_json: str
    max_seq_len: int
    doc_stride: int
    precision: str = ""
    source: str = ""
    f1: float | None = None
    exact_match: float | None = None
    dataset: str = ""
    toolchain: str = ""
    family: str = ""

    @property
    def tokenizer_sha256(self) -> str:
        """The digest of the tokenizer's JSON text, by which clients cache it."""
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    def to_rt_info(self) -> dict[str, str]:
        """Return the strings that go into `rt_info["model_info"]` or ONNX metadata properties."""
        packed = zlib.compress(self.tokenizer_json.encode(), level=9)
        entries: dict[str, object] = {
            "task": "question-answering",
            "tokenizer_json": base64.b64encode(packed).decode(),
            "tokenizer_sha256": self.tokenizer_sha256,
            "max_seq_len": self.max_seq_len,
            "doc_stride": self.doc_stride,
            "precision": self.precision,
            "source": self.source,
            "f1": self.f1,
            "exact_match": self.exact_match,
            "dataset": self.dataset,
            "toolchain": self.toolchain,
            "family": self.family,
        }
        return {key: str(value) for key, value in entries.items() if value not in (None, "")}

    @classmethod
    def from_rt_info(cls, rt_info: Mapping[str, str]) -> ModelInfo:
        """Read what `to_rt_info` wrote.

        Args:
            rt_info: The `model_info` section of an IR's `rt_info`, or ONNX metadata properties.

        Returns:
            The model's description of itself.

        Raises:
            NotAQAModelError: A required key is missing or damaged.
        """
        missing = [key for key in REQUIRED_KEYS if not rt_info.get(key)]
        if missing:
            raise NotAQAModelError(
                f"The model's rt_info lacks {', '.join(missing)}: it was not published by "
                "`bert-qa build`. Pass tokenizer=... to use it all the same."
            )
        try:
            unpacker = zlib.decompressobj()
            packed = base64.b64decode(rt_info["tokenizer_json"], validate=True)
            unpacked = unpacker.decompress(packed, TOKENIZER_JSON_LIMIT)
            if not unpacker.eof:
                raise ValueError(f"it is cut off or longer than {TOKENIZER_JSON_LIMIT} bytes")
            info = cls(
                tokenizer_json=unpacked.decode(),
                max_seq_len=_length("max_seq_len", rt_info["max_seq_len"]),
                doc_stride=_length("doc_stride", rt_info["doc_stride"], least=0),
                precision=rt_info.get("precision", ""),
                source=rt_info.get("source", ""),
                f1=_optional_float(rt_info.get("f1")),
                exact_match=_optional_float(rt_info.get("exact_match")),
                dataset=rt_info.get("dataset", ""),
                toolchain=rt_info.get("toolchain", ""),
                family=rt_info.get("family", ""),
            )
        except (ValueError, binascii.Error, zlib.error) as error:
            raise NotAQAModelError(f"The model's rt_info is damaged: {error}.") from error
        if info.tokenizer_sha256 != rt_info["tokenizer_sha256"]:
            raise NotAQAModelError(
                "The model's rt_info is damaged: tokenizer_json has the digest "
                f"{info.tokenizer_sha256}, but tokenizer_sha256 says {rt_info['tokenizer_sha256']}."
            )
        return info


def _length(name: str, text: str, least: int = 1) -> int:
    """Return a number of tokens."""
    try:
        return whole(least)(name, text)
    except InvalidOptionError as error:
        raise ValueError(str(error).removesuffix(".")) from error


def _optional_float(text: str | None) -> float | None:
    return float(text) if text else None
