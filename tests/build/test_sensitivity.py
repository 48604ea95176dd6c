from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import openvino as ov
import pytest

from bertqa._progress import Progress
from bertqa.artifact import IR_FILE
from bertqa.evaluation import SquadDataset, read_squad
from bertqa.runtime.openvino import core
from bertqa_build import sensitivity
from bertqa_build.errors import BuildError
from bertqa_build.figures import sensitivity as draw
from bertqa_build.graph import is_quantizer, operands, origin, products, short
from bertqa_build.inspection import inspect
from bertqa_build.sensitivity import kept_weights, leave_out, measure_sensitivity
from tests.support.demo import RECIPE, DemoBuild

QUERY = "encoder.layer.0.attention.self.query"


@pytest.fixture(scope="module")
def questions() -> SquadDataset:
    found = read_squad(RECIPE.parent / "demo" / "train-sample.json")
    return replace(found, questions=found.questions[:3])


def graph_of(demo_build: DemoBuild) -> ov.Model:
    return core().read_model(demo_build.repository.version_dir(2) / IR_FILE)


def quantised(graph: ov.Model) -> dict[str, int]:
    """How many quantised activations each product has."""
    return {
        short(node.get_friendly_name()): sum(is_quantizer(origin(port)) for port in operands(node))
        for node in products(graph)
    }


def test_one_layer_is_left_out_and_no_other(demo_build: DemoBuild) -> None:
    graph = graph_of(demo_build)
    before = quantised(graph)
    friendly = next(
        node.get_friendly_name() for node in products(graph) if QUERY in node.get_friendly_name()
    )
    weights = kept_weights(demo_build.work_dir, demo_build.repository.manifest(2))

    assert leave_out(graph, friendly, weights) is True

    after = quantised(graph)
    assert after.pop(QUERY) == 0
    assert before.pop(QUERY) == 1
    assert after == before


def test_weights_are_put_back_where_they_are_surely_the_layer_s_own(
    demo_build: DemoBuild,
) -> None:
    weights = kept_weights(demo_build.work_dir, demo_build.repository.manifest(2))
    (key,) = [name for name in weights if name.endswith(f"{QUERY}.weight")]
    friendly = next(
        node.get_friendly_name()
        for node in products(graph_of(demo_build))
        if QUERY in node.get_friendly_name()
    )
    for other in ({}, {key: weights[key][:1]}, {key: 2 * weights[key]}):
        assert leave_out(graph_of(demo_build), friendly, other) is False


def test_each_quantised_layer_has_a_cost(demo_build: DemoBuild, questions: SquadDataset) -> None:
    seen: list[Progress] = []

    found = measure_sensitivity(
        demo_build.repository,
        2,
        questions,
        work_dir=demo_build.work_dir,
        on_progress=seen.append,
    )

    int8 = inspect(demo_build.repository, 2)
    assert {cost.name for cost in found.layers} == {
        product.name for product in int8.products if product.ranges
    }
    assert (seen[-1].done, seen[-1].total) == (len(found.layers), len(found.layers))
    assert found.questions == 3
    assert all(cost.f1.low <= cost.f1.estimate <= cost.f1.high for cost in found.layers)
    sure = [cost.f1.estimate for cost in found.layers if cost.f1.low > 0]
    assert sure == sorted(sure, reverse=True)
    by_chance = [cost.error for cost in found.layers if cost.f1.low <= 0]
    assert by_chance == sorted(by_chance, reverse=True)
    assert [cost.f1.low > 0 for cost in found.layers] == sorted(
        (cost.f1.low > 0 for cost in found.layers), reverse=True
    )
    assert any(cost.error > 0.01 for cost in found.layers)
    assert all(cost.error <= 1 for cost in found.layers)
    assert {cost.with_weights for cost in found.layers} <= {True, None}
    assert QUERY in draw(found, standalone=True)


def test_an_interrupted_measurement_resumes_where_it_was(
    demo_build: DemoBuild,
    questions: SquadDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = replace(questions, questions=questions.questions[:2])
    measured: list[str] = []
    leave = sensitivity.leave_out

    def noted(graph: ov.Model, friendly: str, weights: sensitivity.Weights) -> bool | None:
        measured.append(friendly)
        return leave(graph, friendly, weights)

    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(sensitivity, "leave_out", noted)
    place = demo_build.repository, 2, asked
    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(*place, work_dir=tmp_path, on_progress=interrupt)
    first, all_layers = measured[-2:], measured[:-2]
    measured.clear()
    seen: list[Progress] = []

    resumed = measure_sensitivity(*place, work_dir=tmp_path, on_progress=seen.append)

    assert seen[0].done == 2
    assert measured == all_layers + [each for each in all_layers if each not in first]
    measured.clear()
    assert measure_sensitivity(*place, work_dir=tmp_path) == resumed
    assert measured == []
    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(*place, work_dir=tmp_path, on_progress=interrupt, again=True)
    assert measured[-2:] == first


def test_a_version_in_floating_point_has_no_such_layers(
    demo_build: DemoBuild, questions: SquadDataset, tmp_path: Path
) -> None:
    with pytest.raises(BuildError, match="is not quantised"):
        measure_sensitivity(demo_build.repository, 1, questions, work_dir=tmp_path)
    assert kept_weights(tmp_path, demo_build.repository.manifest(2)) == {}
