"""A version as other tools load it: the files of the Hugging Face hub's layout, in one directory.

Optimum-Intel opens `openvino_model.xml`, Optimum and ONNX Runtime `model.onnx`; both read
`config.json`, and transformers the tokenizer. The manifests are those of the repository, byte for
byte: by them `pull` checks the files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from tokenizers import Tokenizer

from bertqa.artifact import (
    IR_FILE,
    MODEL_NAME,
    ModelInfo,
    Repository,
    VersionManifest,
    open_regular,
)
from bertqa.errors import NotAQAModelError, RepositoryError
from bertqa_deploy.registries.card import CardFacts, card_of
from bertqa_deploy.registries.places import CARD_FILE, PLACES
from bertqa_deploy.storage.version import VersionFiles, digest_of

_MODEL_INFO = "rt_info/model_info"
_ROLES = ("unk", "pad", "mask")


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of a package: its path in there, and what it holds or where that is."""

    path: str
    content: Path | bytes
    size: int
    sha256: str

    @classmethod
    def of_text(cls, path: str, text: str) -> PackageFile:
        """Return a file that is written for the package.

        Args:
            path: Its path in the package.
            text: What it holds.
        """
        content = text.encode()
        return cls(path, content, len(content), hashlib.sha256(content).hexdigest())

    def open(self) -> BinaryIO:
        """Return what it holds, opened for reading."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        return open_regular(self.content)

    def is_same(self, found: Path) -> bool:
        """Return whether a file holds the same."""
        if found.stat().st_size != self.size:
            return False
        with open_regular(found) as file:
            return digest_of(file, lambda _: None) == self.sha256


@dataclass(frozen=True, slots=True)
class Package:
    """A version with all that other tools need, and what it is known by.

    Attributes:
        name: The model's name.
        version: Its number.
        manifest: The manifest of the IR.
        files: The files, the largest last.
    """

    name: str
    version: int
    manifest: VersionManifest
    files: tuple[PackageFile, ...]

    @property
    def digest(self) -> str:
        """A digest of all files: the same for the same version, whenever it is packed."""
        lines = sorted(f"{file.sha256} {file.path}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def package_of(repository: Repository, version: int, model: str = MODEL_NAME) -> Package:
    """Pack a version.

    Args:
        repository: The repository that has it.
        version: Its number.
        model: The model's name.

    Returns:
        Its files, of which the large ones are those of the repository.

    Raises:
        RepositoryError: The version is missing or damaged, or was published without what other
            tools need of it.
    """
    parts = {
        repository.manifest(version, part.model).format: part
        for part in reversed(VersionFiles.all_of(repository, version, model))
    }
    manifests = {key: repository.manifest(version, part.model) for key, part in parts.items()}
    unknown = next((key for key in parts if key not in PLACES), None)
    if unknown is not None or "openvino" not in parts:
        raise RepositoryError(
            f"Version {version} of {model} is {unknown or 'ONNX alone'}: other tools are given an "
            "OpenVINO IR, with or without its ONNX twin."
        )
    manifest = manifests["openvino"]
    try:
        info = _model_info(parts["openvino"].source / IR_FILE)
    except NotAQAModelError as error:
        raise RepositoryError(
            f"Version {version} of {model} does not say which tokenizer it has, without which "
            "other tools cannot use it: it was not published by `bert-qa build`.",
            detail=str(error),
        ) from error
    files = [
        *_described(info, manifest),
        PackageFile.of_text(
            CARD_FILE, card_of(CardFacts(model, version, info.max_seq_len, manifests))
        ),
        *(file for key, part in parts.items() for file in _copied(part, PLACES[key])),
    ]
    return Package(model, version, manifest, tuple(sorted(files, key=lambda file: file.size)))


def _copied(part: VersionFiles, places: Mapping[str, str]) -> Iterator[PackageFile]:
    for name, digest in part.digests.items():
        if name not in places:
            raise RepositoryError(
                f"{part.source / name} is not one of the files that other tools know: "
                f"{', '.join(places)}."
            )
        yield PackageFile(places[name], part.source / name, part.size(name), digest)


def _described(info: ModelInfo, manifest: VersionManifest) -> Iterator[PackageFile]:
    """Yield what transformers and Optimum read of a model beside its graph."""
    yield PackageFile.of_text("config.json", _json(_config(info, manifest)))
    yield PackageFile.of_text("tokenizer.json", info.tokenizer_json)
    yield PackageFile.of_text("tokenizer_config.json", _json(_tokenizer_config(info, manifest)))


def _config(info: ModelInfo, manifest: VersionManifest) -> Mapping[str, Any]:
    """Return the model's configuration; of older versions, what is known of it."""
    if manifest.config:
        return manifest.config
    family = manifest.family or info.family
    if not family:
        raise RepositoryError(
            f"Version {manifest.version} was published by a release that did not keep the model's "
            "family, without which other tools do not load it. Build it again into a new "
            "repository."
        )
    size = Tokenizer.from_str(info.tokenizer_json).get_vocab_size()
    return {"model_type": family, "vocab_size": size}


def _tokenizer_config(info: ModelInfo, manifest: VersionManifest) -> dict[str, Any]:
    """Return which special token is which: as the tokenizer itself puts them around two texts."""
    tokenizer = Tokenizer.from_str(info.tokenizer_json)
    tokenizer.no_padding()
    around = tokenizer.encode("a", "a")
    special = [
        token for token, mask in zip(around.tokens, around.special_tokens_mask, strict=True) if mask
    ]
    tokens = {"cls_token": special[0], "sep_token": special[-1]} if special else {}
    for token in tokenizer.get_added_tokens_decoder().values():
        role = token.content.strip("[]<>").lower()
        if token.special and role in _ROLES:
            tokens[f"{role}_token"] = token.content
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": info.max_seq_len,
        "model_input_names": list(manifest.inputs or ("input_ids", "attention_mask")),
        **tokens,
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _model_info(ir: Path) -> ModelInfo:
    """Read what an IR says of itself, without the engine that runs it."""
    section = None
    for _, element in ElementTree.iterparse(ir):
        if element.tag == "layers":
            element.clear()
        section = element.find(_MODEL_INFO) if element.tag == "net" else section
    entries = {each.tag: each.get("value", "") for each in section} if section is not None else {}
    return ModelInfo.from_rt_info(entries)
