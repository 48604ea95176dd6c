from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bertqa_build.bench.peers.chart import draw
from bertqa_build.bench.peers.plan import Kind, Peer
from bertqa_build.bench.peers.result import PeersComparison, Row
from bertqa_build.bench.plan import Precision
from bertqa_build.plots import Colour

FP32, INT8 = Precision.FP32, Precision.INT8


def row(kind: Kind, precision: Precision, seconds: tuple[float, ...], f1: float) -> Row:
    reason = "" if seconds else "There is none."
    return Row(Peer(kind, precision, 1), 100, seconds, f1, f1 - 10, "", {}, (), reason)


@pytest.fixture
def comparison() -> PeersComparison:
    rows = (
        row(Kind.PYTORCH, FP32, (20.0, 10.0, 12.0), 80.0),
        row(Kind.ONNX_RUNTIME, INT8, (5.0, 5.0, 6.0), 76.0),
        row(Kind.DEEPSPARSE, FP32, (), 0.0),
        row(Kind.IN_PROCESS, INT8, (2.5, 2.0, 3.0), 80.8),
    )
    return PeersComparison(rows, "version 1", "dev", "0" * 64, 100, 3, 2, "a CPU")


def test_ratios_are_to_the_best_of_the_others_and_losses_from_the_plain_fp32_model(
    comparison: PeersComparison,
) -> None:
    pytorch, onnx, absent, ours = comparison.to_dict()["peers"]
    assert comparison.to_dict()["best_foreign"] == "ONNX Runtime INT8"
    assert comparison.to_dict()["reference"] == "PyTorch FP32"
    assert (onnx["questions_per_second"], ours["questions_per_second"]) == (20, 40)
    assert (onnx["ratio_to_best_foreign"], ours["ratio_to_best_foreign"]) == (1, 2)
    assert pytorch["spread"] == pytest.approx(10 / 12)
    assert (pytorch["f1_loss"], onnx["f1_loss"]) == (0, pytest.approx(5))
    assert ours["f1_loss"] == pytest.approx(-1)
    assert absent["spread"] is None
    one = replace(comparison, rows=(row(Kind.PYTORCH, FP32, (20.0,), 80.0),))
    assert one.to_dict()["peers"][0]["spread"] is None
    assert absent["reason"] == "There is none."
    assert absent["ratio_to_best_foreign"] is None


def test_ours_with_one_version_and_another_f1_are_named(comparison: PeersComparison) -> None:
    assert not comparison.differing
    served = row(Kind.OVMS, INT8, (2.0,), 79.7)
    near = row(Kind.LOCAL, INT8, (2.0,), 80.0)
    other = replace(served, peer=replace(served.peer, version=2), f1=50.0)

    found = replace(comparison, rows=(*comparison.rows, near, served, other)).differing

    assert [(str(high.peer), str(low.peer)) for high, low in found] == [
        ("ours, in process INT8", "ours, OVMS INT8")
    ]


def test_the_figure_names_each_peer_that_was_run(comparison: PeersComparison) -> None:
    figure = draw(comparison)
    words = [each.text for each in ElementTree.fromstring(figure).iter() if each.text]
    for each in ("PyTorch FP32: 8.3", "ONNX Runtime INT8: 20.0", "ours, in process INT8: 40.0"):
        assert each in words
    assert not [each for each in words if "DeepSparse" in each]
    assert len(re.findall(Colour.BEST, figure)) >= 1
    assert draw(comparison) == figure
