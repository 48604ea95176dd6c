"""The model card: what a hub shows of a version, with its scores in the hub's own form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from bertqa.artifact import VersionManifest
from bertqa_deploy.registries.places import PLACES

_TASK = "question-answering"
_FORMATS = {"openvino": "OpenVINO IR", "onnx": "ONNX"}
_HUB_SOURCE = re.compile(r"([\w.-]+/[\w.-]+)@[0-9a-f]{40}(?: \+ .*)?")
_DECIMALS = 4

_BODY = """\
# {name}, version {version}

An extractive question-answering model in {precision}, made from `{source}` with bert-qa. It returns
start and end logits of each token: FP32 `[batch, tokens]` for INT64 inputs `[batch, tokens]`. Its
windows have up to {max_seq_len} tokens.

## Scores

| format | dataset | questions | exact match | F1 |
|---|---|---|---|---|
{scores}
{gate}
## Use

`DIR` is this repository's id, or a directory that holds its files.

With Optimum-Intel:

```python
from optimum.intel import OVModelForQuestionAnswering
from transformers import AutoTokenizer

model = OVModelForQuestionAnswering.from_pretrained("DIR")
tokenizer = AutoTokenizer.from_pretrained("DIR")
```
{onnx}
With bert-qa, which checks the files' digests and serves the version with OpenVINO Model Server:

```console
$ bert-qa pull hf://ORG/NAME
$ bert-qa serve
```

## Files

| file | sha256 |
|---|---|
{files}

{tools}
"""

_ONNX = """
With Optimum and ONNX Runtime, in OpenVINO's execution provider or in any other:

```python
from optimum.onnxruntime import ORTModelForQuestionAnswering

model = ORTModelForQuestionAnswering.from_pretrained("DIR", provider="OpenVINOExecutionProvider")
```
"""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is written from; `manifests` has the manifest of each format."""

    name: str
    version: int
    max_seq_len: int
    manifests: Mapping[str, VersionManifest]


def card_of(facts: CardFacts) -> str:
    """Write a model card.

    Args:
        facts: The version.

    Returns:
        The text of the card: metadata in YAML, with the scores as `model-index`, and Markdown.
    """
    manifest = facts.manifests["openvino"]
    data = ModelCardData(
        model_name=facts.name,
        library_name="openvino",
        pipeline_tag=_TASK,
        tags=["bert-qa", *facts.manifests, manifest.precision.lower()],
        base_model=_base_model(manifest.source),
        eval_results=list(_results(facts.manifests)) or None,
    )
    body = _BODY.format(
        name=facts.name,
        version=facts.version,
        precision=manifest.precision,
        source=manifest.source,
        max_seq_len=facts.max_seq_len,
        scores="\n".join(_scores(facts.manifests)),
        gate=_gate(manifest),
        onnx=_ONNX if "onnx" in facts.manifests else "",
        files="\n".join(_files(facts.manifests)),
        tools=_tools(manifest),
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def _base_model(source: str) -> str | None:
    """Return the hub id of what a version was made from, where it came from a hub."""
    found = _HUB_SOURCE.fullmatch(source)
    return found[1] if found else None


def _results(manifests: Mapping[str, VersionManifest]) -> Iterator[EvalResult]:
    for key, manifest in manifests.items():
        scores = manifest.scores
        if scores is None:
            continue
        for metric, name, value in (
            ("exact_match", "Exact match", scores.exact_match),
            ("f1", "F1", scores.f1),
        ):
            yield EvalResult(
                task_type=_TASK,
                dataset_type=scores.dataset,
                dataset_name=scores.dataset,
                metric_type=metric,
                metric_name=f"{name}, {_FORMATS[key]}",
                metric_value=round(value, _DECIMALS),
            )


def _scores(manifests: Mapping[str, VersionManifest]) -> Iterator[str]:
    for key, manifest in manifests.items():
        scores = manifest.scores
        if scores is None:
            yield f"| {_FORMATS[key]} | not scored | | | |"
        else:
            yield (
                f"| {_FORMATS[key]} | {scores.dataset} | {scores.questions} | "
                f"{scores.exact_match:.2f} | {scores.f1:.2f} |"
            )


def _gate(manifest: VersionManifest) -> str:
    gate = manifest.gate
    if gate is None:
        return ""
    verdict = "passed" if gate.passed else "failed"
    if gate.f1_drop is not None:
        side = "below" if gate.f1_drop > 0 else "above"
        verdict += f", with an F1 {abs(gate.f1_drop):.2f} points {side} that of the FP32 version"
    reasons = "".join(f" {reason}." for reason in gate.reasons)
    return f"\nThe quality gate {verdict}.{reasons}\n"


def _files(manifests: Mapping[str, VersionManifest]) -> Iterator[str]:
    for key, manifest in manifests.items():
        for name, digest in manifest.files.items():
            yield f"| {PLACES[key].get(name, name)} | `{digest}` |"


def _tools(manifest: VersionManifest) -> str:
    tools = ", ".join(f"{name} {number}" for name, number in manifest.toolchain.items())
    return f"Made with {tools}." if tools else ""
