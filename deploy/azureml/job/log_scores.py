"""Log the scores of a build where Azure ML, or any MLflow server, can compare them.

A sweep goes by `f1`, that of the INT8 version. Where no server is named there is nothing to log to.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    built = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    fp32, int8 = (version["scores"] for version in built["versions"])
    scores = {
        "f1": int8["f1"],
        "exact_match": int8["exact_match"],
        "fp32_f1": fp32["f1"],
        "fp32_exact_match": fp32["exact_match"],
    }
    print(json.dumps(scores))
    if "MLFLOW_TRACKING_URI" in os.environ:
        import mlflow

        mlflow.log_metrics(scores)
