"""A model beside the default one that does not answer leaves places to the others."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from bertqa.errors import ModelNotReadyError
from bertqa_serve.http_api import HttpApiOptions
from bertqa_serve.http_api.admission import Admission
from bertqa_serve.http_api.models import Models
from bertqa_serve.http_api.problems import Problem


class Served:
    """What answers for a model until it is taken from the server."""

    def __init__(self, model: str = "bert-qa") -> None:
        self.model = model
        self.is_there = True
        self.checked = self.closed = 0

    async def check(self) -> None:
        self.checked += 1
        if not self.is_there:
            raise ModelNotReadyError("The model is not ready.")

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.closed += 1


def test_one_model_takes_half_of_the_places_and_the_others_have_the_rest() -> None:
    admission = Admission(4)
    with ExitStack() as taken:
        for _ in range(2):
            taken.enter_context(admission.place()).take_for("customer-1")
        with (
            pytest.raises(Problem, match="2 requests to model 'customer-1' are answered or wait"),
            admission.place() as place,
        ):
            place.take_for("customer-1")
        taken.enter_context(admission.place()).take_for("customer-2")
        taken.enter_context(admission.place())
        with pytest.raises(Problem, match="4 requests are answered"), admission.place():
            pass
    assert (admission.taken, dict(admission.by_model)) == (0, {})
    with admission.place() as place:
        place.take_for("customer-1")


async def test_a_model_that_was_waited_for_in_vain_is_looked_for_anew() -> None:
    opened: list[Served] = []

    def opens(model: str) -> Any:
        opened.append(Served(model))
        opened[-1].is_there = len(opened) != 2
        return opened[-1]

    client = {"url": "grpc://127.0.0.1:1", "timeout": 0.01}
    default: Any = Served()
    models = Models(HttpApiOptions(client=client, models=("*",)), default, opens)
    first = await models.of("customer-1")
    assert await models.of("customer-1") is first
    models.forget(first)
    models.forget(first)
    with pytest.raises(Problem, match="not ready"):
        await models.of("customer-1")
    third = await models.of("customer-1")
    assert [each.checked for each in opened] == [1, 1, 1]
    models.forget(first)
    assert await models.of("customer-1") is third
    await asyncio.gather(*models._retiring)
    assert [each.closed for each in opened] == [1, 0, 0]
    await models.close()
    assert [each.closed for each in opened] == [1, 0, 1]
