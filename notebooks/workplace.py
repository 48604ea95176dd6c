"""Set up a notebook's kernel: the first cell of each notebook imports from here.

The kernel then runs in the root of the checkout, its cells find the `bert-qa` of its own Python
environment, and the notebooks write below `WORK` only. This happens on import, so that one line
sets up a notebook; the module is for notebooks and nothing else imports it.
"""

import os
import sys
import warnings
from pathlib import Path

WORK = Path(".work/notebooks")
MODELS = WORK / "model_repository"
QUESTIONS = Path("build/recipes/demo/evaluation-sample.json")

os.chdir(Path(__file__).resolve().parents[1])
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# The output of a cell is not a terminal: it would keep every state of a progress bar.
os.environ |= {"TTY_COMPATIBLE": "0", "COLUMNS": "120"}
# gRPC logs each fork for a command of a cell, and tqdm warns that Jupyter has no widgets.
os.environ["GRPC_VERBOSITY"] = "ERROR"
warnings.filterwarnings("ignore", message="IProgress not found")
WORK.mkdir(parents=True, exist_ok=True)
