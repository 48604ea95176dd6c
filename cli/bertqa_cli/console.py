"""Where the command writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from bertqa import Answer
from bertqa.qa import cut_around

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

CONTEXT_SHOWN = 160


def print_json(value: Any) -> None:
    """Print one JSON document for machines, plain whatever the terminal is."""
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)


def headline(answer: Answer) -> Text:
    """Say an answer, how sure the model is, and which version gave it."""
    return Text.assemble(
        (answer.text or "no answer", "bold"),
        f"  (score {answer.score:.3f}, version {answer.model_version}, "
        f"characters {answer.start}-{answer.end})",
    )


def highlighted(answer: Answer, context: str) -> Text:
    """Show an answer where it stands: some context on either side, the answer itself marked."""
    return Text.assemble(
        *(
            (piece.text, "dim" if piece.answer is None else "bold black on green")
            for piece in cut_around(context, [answer], CONTEXT_SHOWN)
        )
    )
