"""What the library `tokenizers` raises, as errors of this project."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bertqa.errors import BertQAError, TokenizerError

# The library is written in Rust, whose panics are raised as a BaseException of this name.
_PANIC = "PanicException"


@contextlib.contextmanager
def tokenizer_errors(sentence: str) -> Iterator[None]:
    """Raise TokenizerError for whatever the library raises in the block.

    Args:
        sentence: What fails then, without a full stop, such as "The tokenizer cannot encode".

    Raises:
        TokenizerError: A tokenizer is damaged, or the library has a fault.
    """
    try:
        yield
    except (BertQAError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise TokenizerError(f"{sentence}: {error}.", detail=str(error)) from error
