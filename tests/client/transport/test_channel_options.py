from __future__ import annotations

import json
from typing import Any

import pytest

from bertqa import QATokenizer
from bertqa.errors import InvalidOptionError
from tests.support.engines import Served
from tests.support.models import tokenizer_json
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

TOKENIZER = QATokenizer.from_json(tokenizer_json())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("ab", "mapping, or pairs"),
        (["ab"], "mapping, or pairs"),
        ([("a",)], "mapping, or pairs"),
        (5, "mapping, or pairs"),
        ({"grpc.max_send_message_length": "x"}, "has to be a whole number"),
        ({"grpc.keepalive_time_ms": b"1000"}, "has to be a whole number"),
        ({"grpc.enable_http_proxy": "1"}, "has to be a whole number"),
        ({"grpc.keepalive_time_ms": 2**31}, "32 bits"),
        ({"grpc.keepalive_time_ms": None}, "texts, bytes and whole numbers"),
        ({"grpc.service_config": 5}, "has to be a text"),
        ({"grpc.service_config": "{"}, "a JSON object"),
        ({"grpc.service_config": "[]"}, "a JSON object"),
        ({"grpc.primary_user_agent": "a\nb"}, "printable ASCII"),
        ({"grpc.default_authority": "a b"}, "name of a host"),
        ({"grpc.lb_policy_name": "a\0b"}, "null character"),
        ({"grpc.lb_policy_name": "\ud800"}, "not UTF-8"),
        ({"grpc.lb_policy_name": b"\xff"}, "not UTF-8"),
        ({"": 1}, "its name"),
        ({"\ud800": 1}, "its name"),
        ([("grpc.keepalive_time_ms", 1), ("grpc.keepalive_time_ms", 2)], "twice"),
    ],
)
def test_an_option_that_grpc_would_leave_out_is_refused(
    open_client: Twins, options: Any, words: str
) -> None:
    with pytest.raises(InvalidOptionError, match=f"channel_options= .*{words}"):
        open_client("localhost:1", tokenizer=TOKENIZER, channel_options=options)


@pytest.mark.parametrize(
    "options",
    [
        {"grpc.enable_retries": True, "grpc.max_send_message_length": -1},
        [("grpc.lb_policy_name", "pick_first"), ("grpc.primary_user_agent", b"me")],
        [["grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})]],
    ],
)
def test_options_that_grpc_takes_are_taken(
    open_client: Twins, local_server: Served, options: Any
) -> None:
    client = open_client(**local_server.address(), channel_options=options, timeout=60.0)
    assert client.answer(QUESTION, CONTEXT).model_version == 2


def test_a_channel_that_grpc_does_not_open_is_the_fault_of_its_options(open_client: Twins) -> None:
    unknown = {"grpc.service_config": json.dumps({"loadBalancingConfig": [{"no_such": {}}]})}
    client = open_client("localhost:1", tokenizer=TOKENIZER, channel_options=unknown)
    with pytest.raises(InvalidOptionError, match=r"these channel_options=: .*no_such"):
        client.answer(QUESTION, CONTEXT)
