"""tools/fleet: the tables and plots of docs/scaling.md are those of its figures."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from tools.fleet.__main__ import IMAGES, main, rendered, service_of
from tools.fleet.autoscaler import Autoscaler, Scaling
from tools.fleet.model import Replica
from tools.fleet.page import cost_of_million, filled
from tools.fleet.scenarios import CLIENT_POLICY, pods_for
from tools.fleet.simulation import Fleet, Service

pytestmark = pytest.mark.unit


def test_the_page_is_up_to_date() -> None:
    assert main(["render", "--check"]) == 0


def test_a_page_without_a_place_for_a_table_is_an_error() -> None:
    with pytest.raises(LookupError, match="0 places for the table pods"):
        filled("# Words\n", {"pods": ""})


def test_plots_load_nothing_and_name_every_line() -> None:
    plots = [text for path, text in rendered().items() if path.parent == IMAGES]
    assert len(plots) == 4
    for text in plots:
        root = ElementTree.fromstring(text)
        assert not root.findall(".//*[@href]")
        assert len(root.findall("{http://www.w3.org/2000/svg}text")) > 10


def test_what_a_million_questions_cost() -> None:
    assert cost_of_million(100.0, 3.6) == pytest.approx(10.0)


def test_the_fewest_pods_keep_the_promise_and_one_fewer_does_not() -> None:
    service = Service((0.005, 0.025))
    pods, outcome = pods_for(service, CLIENT_POLICY, 600.0)
    assert 3 <= pods <= 5
    assert outcome.quantile_ms(99) <= 100


def test_the_command_prints_pods(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pods", "--rate", "5", "--core-ms", "10"]) == 0
    assert capsys.readouterr().out.startswith("1 pod of 4 cores: p99 ")


def test_the_promise_can_be_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pods", "--rate", "5", "--core-ms", "40", "--p99-ms", "1000"]) == 0
    assert capsys.readouterr().out.startswith("1 pod of 4 cores: p99 ")


@pytest.mark.parametrize(
    "options",
    [
        *(["pods", "--rate", rate] for rate in ("0", "-1", "nan", "inf", "1e12", "many")),
        ["pods", "--rate", "5", "--core-ms", "0"],
        ["pods", "--rate", "5", "--core-ms", "nan"],
        ["pods", "--rate", "5", "--p99-ms", "-1"],
        ["render", "--check", "--price-per-hour", "-1"],
        ["render", "--check", "--price-per-hour", "nan"],
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert f"it is '{options[-1]}', but it has to be a number" in capsys.readouterr().err


@pytest.mark.parametrize("cost", ["99", "100000"])
def test_a_promise_that_no_number_of_pods_keeps_ends_the_search(
    cost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pods", "--rate", "5", "--core-ms", cost]) == 1
    assert "more pods do not keep the promise of 100 ms" in capsys.readouterr().err


def test_questions_that_keep_the_promise_only_by_chance_end_the_search() -> None:
    with pytest.raises(ValueError, match="more pods do not keep"):
        pods_for(Service((*[0.01] * 99, 0.0999, 5.0)), "round robin", 150.0)


def test_an_autoscaler_follows_the_load_up_at_once_and_down_one_by_one() -> None:
    fleet = Fleet(Service.constant(0.05), CLIENT_POLICY)
    fleet.add(*(Replica(fleet.env) for _ in range(2)))
    scaling = Scaling(target=0.7, start_seconds=15.0, down_seconds=60.0)
    scaler = Autoscaler(fleet, scaling, lambda: Replica(fleet.env))
    outcome = fleet.run([(0.0, 20.0), (120.0, 80.0), (480.0, 20.0)], 1_200.0)
    assert len(outcome.latencies) == outcome.asked
    by_time = dict(scaler.counts)
    # The queue of the first minutes asks for more than the rate does.
    assert max(by_time.values()) in range(6, 13)
    assert scaler.count == 2
    falls = [at for (_, before), (at, now) in pairwise(scaler.counts) if now < before]
    rises = [at for (_, before), (at, now) in pairwise(scaler.counts) if now > before]
    waits = [fall - max(rise for rise in rises if rise < fall) for fall in falls]
    assert min(waits) >= scaling.down_seconds
    assert min(b - a for a, b in pairwise(falls)) >= scaling.down_pod_seconds


def test_measured_figures_are_read() -> None:
    service = service_of({"question": {"core_ms": [5, 15], "rest_ms": 1, "client_ms": 2}})
    assert service.mean == pytest.approx(0.01)
    assert service.rest == pytest.approx(0.003)
