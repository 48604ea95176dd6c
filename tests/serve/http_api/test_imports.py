from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import bertqa_serve.http_api
print(*sorted({"grpc_tools", "openvino", "torch", "onnxruntime", "scipy"} & set(sys.modules)))
"""


def test_the_http_api_needs_no_engine() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
