"""The page on loopback, with two toy versions behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bertqa import QAClient
from bertqa.evaluation import System
from bertqa_deploy.page import LOOPBACK, page
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.ports import free_port
from tests.support.web import serving_application


@contextmanager
def serving_page(**settings: float) -> Iterator[str]:
    """Return the page's address while the block runs; `settings` are those of `page`."""
    port = free_port()
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    with QAClient(transport=transport) as client:
        first, second = (System(f"version {number}", client, number) for number in (1, 2))
        with serving_application(page(first, second, **settings), port):
            yield f"http://{LOOPBACK}:{port}"
