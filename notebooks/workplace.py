"""Where the notebooks work: in the root of the checkout, with the `bert-qa` of their own kernel.

Importing it goes there. What the notebooks make goes below `WORK`, and nowhere else.
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
# A cell's output is no terminal: it would keep all that a progress bar draws over.
os.environ |= {"TTY_COMPATIBLE": "0", "COLUMNS": "120"}
# gRPC notes each command that a cell starts, and tqdm that Jupyter has no widgets.
os.environ["GRPC_VERBOSITY"] = "ERROR"
warnings.filterwarnings("ignore", message="IProgress not found")
WORK.mkdir(parents=True, exist_ok=True)
