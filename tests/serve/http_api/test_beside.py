"""The HTTP API in a process of its own, beside a server."""

from __future__ import annotations

import pytest

from bertqa_serve.errors import ServerDiedError
from bertqa_serve.http_api import HttpApiOptions, http_api_beside


def test_a_process_that_cannot_start_is_never_called_ready(
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = HttpApiOptions(client={"url": "ftp://nowhere"}, port=0)
    with pytest.raises(ServerDiedError, match="by itself with status 1"), http_api_beside(options):
        pytest.fail("it is called ready")
    log = capfd.readouterr().err
    assert "begins with ftp://" in log
    assert "Traceback" not in log
