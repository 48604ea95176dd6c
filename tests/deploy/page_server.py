"""The page on loopback, with two toy versions behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from bertqa import QAClient
from bertqa_deploy.compare import Side
from bertqa_deploy.page import LOOPBACK, page
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.ports import free_port


@contextmanager
def serving_page() -> Iterator[str]:
    """Give the page's address while the block runs."""
    port = free_port()
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    with QAClient(transport=transport) as client:
        first, second = (Side(f"version {number}", client, number) for number in (1, 2))
        config = uvicorn.Config(page(first, second), host=LOOPBACK, port=port, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://{LOOPBACK}:{port}"
        server.should_exit = True
        thread.join()
