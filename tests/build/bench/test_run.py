from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bertqa._progress import Progress
from bertqa.errors import InvalidOptionError
from bertqa_build.bench import run
from bertqa_build.bench.chart import draw
from bertqa_build.bench.plan import BenchFiles, EngineName, Plan, Precision, Shape, Variant
from bertqa_build.bench.run import measure, plan_for_this_machine
from bertqa_build.errors import BuildError
from bertqa_build.machine import machine
from bertqa_build.plots import Colour

FP32 = Variant(EngineName.OPENVINO, Precision.FP32)
INT8 = Variant(EngineName.OPENVINO, Precision.INT8)


@pytest.fixture
def plan(files: BenchFiles, work_dir: Path) -> Plan:
    source = str(work_dir / "checkpoint")
    plan = plan_for_this_machine(source, lengths=(16, 8), batches=(1,), repeats=3, threads=1)
    return replace(plan, variants=(FP32, INT8))


def test_variants_take_turns_and_what_is_measured_is_kept(plan: Plan, work_dir: Path) -> None:
    events: list[Progress] = []
    measurement = measure(plan, work_dir, events.append, again=True)
    turns = [event.note for event in events if event.stage.startswith("Measuring")]
    assert turns == [str(FP32), str(INT8)] * 3 * 2
    assert {(cell.variant, cell.shape) for cell in measurement.cells} == {
        (variant, Shape(tokens, 1)) for variant in (FP32, INT8) for tokens in (8, 16)
    }
    document = json.loads(json.dumps(measurement.to_dict()))
    assert document["machine"] == machine()
    for cell in document["cells"]:
        samples = cell["samples_seconds"]
        assert len(samples) == 3
        assert min(samples) <= cell["median_seconds"] <= max(samples)
        assert cell["windows_per_second"] == pytest.approx(cell["batch"] / cell["median_seconds"])
        if cell["precision"] == "FP32":
            assert cell["ratio_to_fp32"] == 1
    assert document["proofs"][str(INT8)]["execution"]

    events.clear()
    again = measure(plan, work_dir, events.append)
    assert again == measurement
    assert not events


def test_the_figure_is_svg_with_a_bar_for_each_cell(plan: Plan, work_dir: Path) -> None:
    measurement = measure(plan, work_dir)
    figure = draw(measurement)
    patches = re.findall(r'<g id="patch_\d+">\s*<path [^>]*fill: (#[0-9a-f]{6})', figure)
    bars = [colour for colour in patches if colour != "#ffffff"]  # The background is a patch too.
    assert sorted(bars) == sorted([Colour.BASE, Colour.BEST] * len(measurement.plan.shapes))
    words = [each.text for each in ElementTree.fromstring(figure).iter() if each.text]
    for cell in measurement.cells:
        note = f"{cell.windows_per_second:.1f} ({measurement.ratio(cell):.2f}x)"
        assert note in words


def test_an_engine_that_fails_is_named_with_its_last_words(plan: Plan, work_dir: Path) -> None:
    broken = work_dir / "broken"
    shutil.copytree(work_dir / "bench", broken / "bench")
    for path in broken.glob("bench/*/int8/model.xml"):
        path.write_text("nothing")
    with pytest.raises(BuildError, match=r"OpenVINO INT8 ended with exit status 1") as raised:
        measure(replace(plan, variants=(INT8,)), broken, again=True)
    assert "cannot load" in (raised.value.detail or "")


def test_more_threads_than_cores_are_refused() -> None:
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(InvalidOptionError, match=f"only {cores} cores"):
        plan_for_this_machine("minilm", threads=cores + 1)


def test_where_memory_is_short_each_engine_is_measured_by_itself(
    plan: Plan, files: BenchFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Variant(EngineName.PYTORCH, Precision.FP32)
    plan = replace(plan, variants=(other, FP32, INT8))
    assert run.groups(plan, files) == [(other, FP32, INT8)]
    monkeypatch.setattr(run, "ALL_AT_ONCE", 10**9)
    assert run.groups(plan, files) == [(other,), (FP32, INT8)]
    monkeypatch.setattr(run, "ONE_ENGINE", 10**9)
    with pytest.raises(BuildError, match=r"Memory has room for .* GB"):
        run.groups(plan, files)
