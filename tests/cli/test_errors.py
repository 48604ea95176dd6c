from __future__ import annotations

import re
from pathlib import Path

import pytest

from bertqa.errors import BertQAError, InvalidContextError, InvalidOptionError, QualityGateError
from bertqa_cli.catalog import VERBS, load
from bertqa_cli.errors import (
    CommandError,
    Status,
    in_command_words,
    missing_extra,
    option_names,
    status_of,
)
from tests.cli.conftest import Invoke
from tests.support.messages import error_texts

LIBRARY = Path(__file__).parents[2] / "client" / "bertqa"
KEYWORD = re.compile(r"\b[a-z]\w*=(?![\w=])")


def test_a_missing_module_names_the_extra_that_brings_it() -> None:
    error = missing_extra(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))

    assert "pip install '.[build]'" in str(error)
    assert "torch is not installed" in str(error)


def test_a_missing_module_that_no_extra_brings_is_a_defect_and_stays_one() -> None:
    defect = ModuleNotFoundError("No module named 'bertqa.nothing'", name="bertqa.nothing")

    with pytest.raises(ModuleNotFoundError) as raised:
        missing_extra(defect)

    assert raised.value is defect


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BertQAError("failed"), Status.FAILED),
        (InvalidContextError("empty"), Status.USAGE),
        (InvalidOptionError("wrong"), Status.USAGE),
        (QualityGateError("refused"), Status.REFUSED),
        (CommandError("wrong", status=Status.USAGE), Status.USAGE),
    ],
)
def test_statuses(error: BertQAError, status: Status) -> None:
    assert status_of(error) is status


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "grpc://localhost:80 has no REST port: pass metadata_url= or tokenizer=.",
            "grpc://localhost:80 has no REST port: pass --metadata-url or --tokenizer.",
        ),
        (
            "(Correct metadata_url=, or pass metadata_url= or tokenizer=.)",
            "(Correct --metadata-url, or pass --metadata-url or --tokenizer.)",
        ),
        (
            "TLS needs certificate= and key= together.",
            "TLS needs --certificate and --key together.",
        ),
        (
            "Pass the authority as ca= of TLS (certificate= and key= of TLS).",
            "Pass the authority as --ca (--certificate and --key).",
        ),
        ("timeout is -1, but it has to be above 0.", "--timeout is -1, but it has to be above 0."),
        ("Pass a greater timeout= to wait.", "Pass a greater --timeout to wait."),
        ("(Correct metadata_url=, or pass ca=.)", "(Correct --metadata-url, or pass --ca.)"),
        ("The split 1=90 sums to 90.", "The split 1=90 sums to 90."),
        ("The text 'key=value' stays.", "The text 'key=value' stays."),
        ("shadow= needs recorder=.", "shadow needs recorder."),
        *(
            (text, text)
            for text in (
                "The options, gate.min_f1=.inf: gate.min_f1 is inf.",
                "'seed' should be KEY=VALUE, such as data.directory=../data.",
                "recipe.yaml, seed=-1: seed is -1.",
                "recipe.yaml, name=../x: name is '../x'.",
                "recipe.yaml, adapter=[1]: adapter is [1].",
            )
        ),
    ],
)
def test_keywords_of_the_library_become_options(message: str, shown: str) -> None:
    assert in_command_words(message, option_names(load("ask"))) == shown


def test_an_alternative_that_a_verb_does_not_offer_is_left_out() -> None:
    message = "It has no REST port: pass metadata_url= or tokenizer=."

    shown = in_command_words(message, option_names(load("versions")))

    assert shown == "It has no REST port: pass --metadata-url."


def test_options_are_known_by_what_is_typed() -> None:
    assert option_names(load("ask"))["questions"] == "--input"
    assert option_names(load("bench"))["alone"] == "--alone"


def test_no_message_of_the_library_shows_a_keyword_on_the_command_line() -> None:
    options = {name: option for verb in VERBS for name, option in option_names(load(verb)).items()}
    texts = [text for _, text in error_texts(LIBRARY) if KEYWORD.search(text)]

    assert len(texts) > 3
    for text in texts:
        shown = in_command_words(text, options)
        assert not KEYWORD.search(shown)
        for name in KEYWORD.findall(text):
            option = options.get(name.rstrip("="))
            assert option is None or option in shown


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["ask", "q", "--context", "c", "--url", "localhost:80"], "--metadata-url or --tokenizer."),
        (["versions", "--url", "localhost:80"], "--metadata-url."),
        (["ask", "q", "--context", "c", "--metadata-url", "x:1"], "--metadata-url is 'x:1'"),
        (["versions", "--key", __file__], "--certificate and --key"),
    ],
)
def test_the_command_shows_its_own_options(
    invoke: Invoke, arguments: list[str], shown: str
) -> None:
    result = invoke(*arguments)

    assert result.status == 2
    assert shown in result.err
