"""A local server for tools that show what it answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bertqa_serve.ports import free_ports


@contextmanager
def served(repository: str, *flags: str) -> Iterator[dict[str, str]]:
    """Serve a repository with the local engine while the block runs.

    Args:
        repository: The model repository.
        flags: More options of `bert-qa serve`.

    Yields:
        What `bert-qa serve --json` prints: the addresses of the server.

    Raises:
        SystemExit: It did not start.
    """
    port, rest_port = free_ports()
    command = [
        *(sys.executable, "-m", "bertqa_cli.main", "serve", "--engine", "local", "--json", *flags),
        *("--repository", repository, "--port", str(port), "--rest-port", str(rest_port)),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            printed = ""
            while not printed.rstrip().endswith("}"):
                line = server.stdout.readline()
                if not line:
                    raise SystemExit("The server did not start.")
                printed += line
            yield json.loads(printed)
        finally:
            server.terminate()
