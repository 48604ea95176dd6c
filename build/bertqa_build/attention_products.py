"""Which of attention's two products NNCF quantises: here both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nncf.common.graph.patterns.patterns import IgnoredPatternNames
from nncf.torch.quantization.ignored_patterns import PT_IGNORED_PATTERNS

_TURN = threading.Lock()


@contextmanager
def both_quantized() -> Iterator[None]:
    """Quantise the product of probabilities and values too within the block.

    NNCF's pattern of attention leaves that product in floating point, after the softmax, which
    costs time and saves no F1: docs/results.md has the figures. A recipe's
    `keep_floating_point` still leaves it out. NNCF's patterns are one table for the whole
    process, so that threads take turns.
    """
    patterns = PT_IGNORED_PATTERNS.registry_dict
    with _TURN:
        pattern = patterns.pop(IgnoredPatternNames.MULTIHEAD_ATTENTION_OUTPUT)
        try:
            yield
        finally:
            patterns[IgnoredPatternNames.MULTIHEAD_ATTENTION_OUTPUT] = pattern
