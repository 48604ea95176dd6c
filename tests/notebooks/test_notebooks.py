"""The notebooks, run from top to bottom in a checkout of their own, on the tests' demo."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
import yaml
from filelock import FileLock

from notebooks.run import FOLDER, notebooks, outputs, read, run

if TYPE_CHECKING:
    from tests.support.demo import DemoBuild

ROOT = FOLDER.parent
RECIPE = Path("build/recipes/demo.yaml")
DEMO = Path("build/recipes/demo")
QUESTIONS = DEMO / "evaluation-sample.json"
PARAGRAPHS = 4
WORK = Path(".work/notebooks")
PATHS = notebooks()
NAMES = [path.name for path in PATHS]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, demo_build: DemoBuild) -> Path:
    """The notebooks with all that they read, where the recipe is that of `demo_build`.

    So what it makes is there already, as it is for a reader who runs them again. What the cells
    themselves ask is fewer questions.
    """
    root = tmp_path_factory.mktemp("checkout")
    (root / "notebooks").mkdir()
    for path in (*PATHS, FOLDER / "workplace.py"):
        shutil.copy(path, root / "notebooks")
    (root / DEMO).mkdir(parents=True)
    for path in (Path("deploy"), *(DEMO / each.name for each in (ROOT / DEMO).iterdir())):
        (root / path).symlink_to(ROOT / path)
    (root / QUESTIONS).unlink()
    (root / QUESTIONS).write_text(few_questions(ROOT / QUESTIONS), encoding="utf-8")
    recipe = demo_build.recipe.model_dump(mode="json")
    recipe["data"]["directory"] = str(ROOT / DEMO)
    (root / RECIPE).write_text(yaml.safe_dump(recipe), encoding="utf-8")
    shutil.copytree(demo_build.work_dir, root / WORK)
    shutil.copytree(demo_build.repository.root, root / WORK / "model_repository")
    return root


def few_questions(path: Path) -> str:
    """Return SQuAD JSON with the first paragraphs of each article of a file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for article in document["data"]:
        del article["paragraphs"][PARAGRAPHS:]
    return json.dumps(document)


def files(root: Path) -> set[Path]:
    """What lies in a checkout, but for where the notebooks may write, and what Python caches."""
    return {
        path.relative_to(root)
        for path in root.rglob("*")
        if not {".work", "__pycache__"} & set(path.relative_to(root).parts)
    }


def text_of(notebook: nbformat.NotebookNode) -> str:
    """All that a notebook's outputs say."""
    parts: list[str] = []
    for output in outputs(notebook):
        shown = output.get("data", {})
        parts += [output.get("text", ""), shown.get("text/plain", ""), shown.get("text/html", "")]
    return "\n".join(parts)


FACTS = {
    "01_from_checkpoint_to_int8.ipynb": (
        r"│ 2 +│ INT8 +│ .* (published|was there already) +│",
        r"OpenVINOEngine +\S.*\nOnnxRuntimeEngine +\S.*\nTorchEngine +\S",
        r"'FakeQuantize': 0.*\n.*'FakeQuantize': [1-9]",
    ),
    "02_serve_and_ask.ipynb": (
        r"Answer\(text='Léon Foucault', start=8, end=21, score=0\.9\d+, model_version=2\)",
        r"<mark [^>]*>[^<]+</mark>",
        r"2 questions answered in .*\nBad rows: 1",
        r"VersionNotFoundError: .* does not serve version 99",
        r"error: Cannot connect to",
    ),
    "03_ab_switching.ipynb": (
        r"Version 1 is the default",
        r"the split is 1=90,2=10",
        r"version 1 answered [1-9]\d* times\nversion 2 answered [1-9]\d* times\n",
        r"Version 2 agrees with version 1 on",
    ),
    "04_azure_ml.ipynb": (
        r"\ntype: command\n(.*\n)+.* bert-qa build ",
        r"search_space:\n(.*\n)*objective:",
        r"type: custom_model\npath: /path/to/bert-qa/.work/notebooks/model_repository/bert-qa/2\n",
        r"name: version-2\nendpoint_name: bert-qa\nmodel: azureml:bert-qa:2\n",
        r"mirror_traffic:\n  version-2: 10\n",
        r"\ntraffic:\n  version-1: 90\n  version-2: 10\n",
        r"\ntraffic:\n  version-2: 100\n",
        r"error: Which workspace\?",
    ),
    "05_from_a_directory_to_a_served_version.ipynb": (
        r"Calibrate: \d+ questions, \d+ .*windows",
        r"│ all +│",
        r"Nothing was written",
        r"│ 2 +│ INT8 +│ .* published",
        r"my-qa is ready",
        r"Answer\(text='186,282 miles', start=14, end=27, score=0\.\d+, model_version=2\)",
    ),
}


KEPT = {
    "01_from_checkpoint_to_int8.ipynb": (
        r"│ 1 +│ FP32 .*│\n│ 2 +│ INT8 .*│",
        r"OpenVINOEngine +186,282 miles .*\nOnnxRuntimeEngine +186,282 .*\nTorchEngine +186,282 ",
    ),
    "02_serve_and_ask.ipynb": (
        r"Answer\(text='186,282 miles', start=185, end=198, score=0\.\d+, model_version=2\)",
        r"<mark [^>]*>186,282 miles</mark>",
    ),
}
"""What holds of the real recipe's versions alone."""


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(name: str, checkout: Path, run_root: Path) -> None:
    before = files(checkout)

    with FileLock(run_root / "notebooks.lock"):  # They serve at the default ports.
        notebook = run(checkout / "notebooks" / name)

    assert files(checkout) == before
    text = text_of(notebook)
    for fact in FACTS[name]:
        assert re.search(fact, text), f"{fact} is not in:\n{text}"


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_the_kept_outputs_are_those_of_a_whole_run(path: Path) -> None:
    notebook = read(path)

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = text_of(notebook)
    for fact in FACTS[path.name] + KEPT.get(path.name, ()):
        assert re.search(fact, text), fact


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_no_kept_output_names_the_machine_or_a_library(path: Path) -> None:
    notebook = read(path)

    kinds = {output.get("name", output.output_type) for output in outputs(notebook)}
    assert kinds <= {"stdout", "execute_result", "display_data"}
    text = text_of(notebook)
    for pattern in (
        r"/(?:home|root|tmp|usr|opt|mnt|var|Users)/",
        r"\x1b|\r|\x08",
        "Warning",
    ):
        assert not re.search(pattern, text), pattern
