"""Clients that others wrote for Hugging Face's inference API, unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.support.http_api import CONTEXT, QUESTION

ROOT = Path(__file__).parents[3]
PACKAGE = "@huggingface/inference@4.13.30"
SCRIPT = """
import { InferenceClient } from "@huggingface/inference";
const [url, question, context] = process.argv.slice(2);
const client = new InferenceClient("no-token", { endpointUrl: url });
const ask = (parameters) => client.questionAnswering({ inputs: { question, context }, parameters });
const outcome = {
  best: await ask(undefined),
  many: await ask({ top_k: 3, max_answer_len: 4, offset_unit: "utf16" }),
  error: await ask({ top_k: 0 }).then(() => null, (error) => error.message),
};
outcome.cut = context.slice(outcome.best.start, outcome.best.end);
console.log(JSON.stringify(outcome));
"""


def test_huggingface_hub(api: httpx.Client) -> None:
    client = InferenceClient(str(api.base_url).rstrip("/"))
    best = client.question_answering(question=QUESTION, context=CONTEXT)
    assert not isinstance(best, list)
    assert CONTEXT[best.start : best.end] == best.answer
    assert 0 < best.score < 1
    more = client.question_answering(
        question=QUESTION, context=CONTEXT, top_k=3, max_answer_len=4, align_to_words=False
    )
    assert isinstance(more, list)
    assert len(more) == 3
    named = InferenceClient(f"{str(api.base_url).rstrip('/')}/models/bert-qa")
    assert named.question_answering(question=QUESTION, context=CONTEXT) == best
    with pytest.raises(HfHubHTTPError, match="422") as caught:
        client.question_answering(question=QUESTION, context=CONTEXT, top_k=0)
    assert "top_k is 0" in str(caught.value)


@pytest.mark.thorough
def test_huggingface_inference_of_npm(api: httpx.Client) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no node with npm on PATH")
    place = ROOT / ".work" / "tools" / "npm"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "node_modules" / PACKAGE.rpartition("@")[0]).exists():
        install = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), PACKAGE]
        done = subprocess.run(install, capture_output=True, text=True, timeout=240)
        if done.returncode:
            pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr.strip()[-200:]}")
    script = place / "ask.mjs"
    script.write_text(SCRIPT, encoding="utf-8")
    url = str(api.base_url).rstrip("/")
    asked = subprocess.run(
        [node, str(script), url, QUESTION, CONTEXT], capture_output=True, text=True, timeout=120
    )
    assert asked.returncode == 0, asked.stderr
    outcome = json.loads(asked.stdout)
    assert outcome["cut"] == outcome["best"]["answer"]
    assert len(outcome["many"]) == 3 or outcome["many"]["answer"]
    assert outcome["error"]
