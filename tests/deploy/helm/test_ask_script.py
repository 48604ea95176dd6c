"""What `helm test` runs, with programs in place of the real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.chart import CHART

SCRIPT = CHART / "files" / "ask.sh"


def test_an_answer_may_hold_what_json_escapes(tmp_path: Path) -> None:
    text = 'in 1932,\n"by \\Anna"\tBerg'
    for name, answered in (("bert-qa", {"answers": [{"text": text}]}), ("curl", {"answer": text})):
        (tmp_path / f"{name}.json").write_text(json.dumps(answered))
        (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path}/{name}.json\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    settings = {"QUESTION": "When?", "CONTEXT": text, "URL": "a:9000", "MODEL": "bert-qa"}
    http = {"HTTP_URL": "http://a:8080", "HTTP_BODY": "{}"}

    def ask(wanted: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(
            ["sh", str(SCRIPT)],
            env={**settings, **http, **path, "ANSWER": wanted},
            capture_output=True,
            text=True,
            check=False,
        )

    assert ask("1932").returncode == 0, ask("1932").stderr
    wrong = ask("1933")
    assert wrong.returncode != 0
    assert "which does not contain '1933'. If the model is for other questions, set" in wrong.stderr
    assert "Traceback" not in wrong.stderr
