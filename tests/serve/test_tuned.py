from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bertqa.errors import InvalidOptionError
from bertqa_serve.tuned import _KNOWN, TunedSettings, read_tuned, this_machine

SCHEMA = Path(__file__).parents[2] / "deploy" / "helm" / "bert-qa" / "values.schema.json"
ALL = TunedSettings(
    threads=8, streams=2, precision="bf16", token_budget=4096, made_for=this_machine()
)


def test_what_is_written_is_read_again_and_is_values_of_the_chart(tmp_path: Path) -> None:
    path = tmp_path / "tuned.yaml"
    path.write_text(ALL.text(["Version 2: 1.2 times the default"]), encoding="utf-8")
    assert read_tuned(path) == ALL
    assert ALL.warning is None
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == {
        "server": {"threads": 8, "streams": 2, "precision": "bf16"},
        "httpApi": {"tokenBudget": 4096},
    }


def test_other_values_of_the_chart_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(
        "tracks: {stable: {version: 2}}\nserver: {streams: 3, threads: 0, logLevel: DEBUG}\n"
        "httpApi:\n"
    )
    found = read_tuned(path)
    assert found == TunedSettings(streams=3)
    assert found.warning is None


@pytest.mark.parametrize("section", ["server", "httpApi"])
def test_other_settings_of_the_chart_are_accepted(tmp_path: Path, section: str) -> None:
    properties = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"][section]["properties"]
    assert set(_KNOWN[section]) == set(properties)
    path = tmp_path / "values.yaml"
    others = dict.fromkeys(properties)
    sections: dict[str, dict[str, object]] = {"server": {}, "httpApi": {}} | {section: others}
    sections["server"]["streams"] = 3
    path.write_text(yaml.safe_dump(sections))
    assert read_tuned(path) == TunedSettings(streams=3)


def test_a_file_for_another_cpu_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "tuned.yaml"
    path.write_text("# CPU: Xeon 9, 64 cores\nserver: {streams: 16}\n")
    warning = read_tuned(path).warning
    assert warning is not None
    assert "on another machine (Xeon 9, 64 cores) than this one" in warning


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("server: {streams: -1}", "server.streams in FILE is -1, but it has to be a whole number"),
        ("server: {threads: many}", "server.threads in FILE is 'many'"),
        ("server: {precision: int8}", "server.precision in FILE is 'int8'"),
        ("server: {precision: [f32]}", "server.precision in FILE is"),
        ("server: {threads: [1]}", "server.threads in FILE is"),
        ("httpApi: {tokenBudget: 1.5}", "httpApi.tokenBudget in FILE is 1.5"),
        ("server: fast", "server in FILE has to hold settings by name"),
        ("- 1", "FILE has no settings by name"),
        ("server: {", "FILE is not YAML"),
        ("\x00", "FILE is not YAML"),
        (
            "server: {thread: 2}",
            "server.thread in FILE is not a setting of the chart: did you mean threads?",
        ),
        ("httpApi: {tokenBudget: 9, 7: 1}", "httpApi.7 in FILE is not a setting of the chart"),
        ("tracks: {}", "FILE has none of server.threads"),
    ],
)
def test_what_cannot_be_a_setting_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "tuned.yaml"
    path.write_text(text)
    with pytest.raises(InvalidOptionError) as refused:
        read_tuned(path)
    assert complaint in str(refused.value).replace(str(path), "FILE")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"absent\.yaml cannot be read"):
        read_tuned(tmp_path / "absent.yaml")


def test_a_remark_with_a_line_break_stays_a_remark(tmp_path: Path) -> None:
    file = tmp_path / "tuned.yaml"
    text = TunedSettings(streams=2).text(["Asked: 2 questions of odd\nserver: {threads: 9}"])
    file.write_text(text, encoding="utf-8")
    assert read_tuned(file) == TunedSettings(streams=2)
