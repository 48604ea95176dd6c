"""For pipelines of one's own: answers as further columns of batches of Ray and frames of Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Unpack

from bertqa import _checks
from bertqa._data_files import import_pyarrow
from bertqa.bulk._models import LocalModel, Model, ServedModel, client_of
from bertqa.client import AskOptions, check_options
from bertqa.client._batch._columns import ANSWER_COLUMNS, ERROR
from bertqa.errors import BertQAError, DataError, InvalidOptionError

_TYPES = ("string", "int64", "int64", "double", "int64", "string")
_SPARK_TYPES = ("string", "long", "long", "double", "long", "string")
_PANDAS_TYPES = ("object", "Int64", "Int64", "float64", "Int64", "object")
OWN = (*ANSWER_COLUMNS, ERROR)


class _Asker:
    """Answers columns of questions and contexts; pickled, it is a plain description."""

    def __init__(
        self, model: Model, question_column: str, context_column: str, options: AskOptions
    ) -> None:
        if not isinstance(model, ServedModel | LocalModel):
            raise _checks.refused("model", model, "a ServedModel or a LocalModel")
        self._model = model
        self._names = (
            _checks.text("question_column", question_column),
            _checks.text("context_column", context_column),
        )
        check_options(options)
        self._options = options

    def check(self, names: Sequence[str]) -> tuple[str, str]:
        """Return the names of both columns, where a batch has them and none of the answers'."""
        missing = [name for name in self._names if name not in names]
        if missing:
            raise DataError(
                f"A batch has no column {' and no column '.join(missing)}; its columns are "
                f"{', '.join(map(str, names))}."
            )
        clashing = [name for name in OWN if name in names]
        if clashing:
            raise DataError(
                f"A batch has a column {clashing[0]!r}, as the answers have: rename it."
            )
        return self._names

    def columns(self, questions: Sequence[Any], contexts: Sequence[Any]) -> list[list[Any]]:
        """Return the columns of the answers, a list each, in the order of `OWN`."""
        client = client_of(self._model)
        pairs = zip(questions, contexts, strict=True)
        rows: list[tuple[Any, ...]] = []
        for found in client.answer_many(pairs, return_errors=True, **self._options):
            if isinstance(found, BertQAError):
                rows.append((None, None, None, None, None, str(found)))
            else:
                rows.append(
                    (found.text, found.start, found.end, found.score, found.model_version, "")
                )
        return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in OWN]


class AnswerBatches:
    """A callable class for Ray's `map_batches`: batches come back with the answers' columns.

    ```python
    dataset.map_batches(
        AnswerBatches,
        fn_constructor_args=(LocalModel(repository="model_repository", threads=4),),
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=8),
        num_cpus=4,
    )
    ```

    Args:
        model: A `ServedModel` or a `LocalModel`.
        question_column: The name of the column of the questions.
        context_column: The name of the column of the contexts.
        **options: See `AskOptions`.

    Raises:
        InvalidOptionError: An argument is not valid.
    """

    def __init__(
        self,
        model: Model,
        *,
        question_column: str = "question",
        context_column: str = "context",
        **options: Unpack[AskOptions],
    ) -> None:
        self._asker = _Asker(model, question_column, context_column, options)

    def __call__(self, batch: Any) -> Any:
        """Return a batch with the answers.

        Args:
            batch: A `pyarrow.Table` with both columns.

        Returns:
            The table with `answer`, `start`, `end`, `score`, `model_version` and `error`, which
            says what is wrong with a bad row.

        Raises:
            InvalidOptionError: The batch is of another kind.
            BertQAError: The server or the model is at fault.
        """
        arrow = import_pyarrow("A batch")
        if not isinstance(batch, arrow.Table):
            raise InvalidOptionError(
                f"A batch is a {type(batch).__name__}: pass batch_format='pyarrow' to map_batches."
            )
        question, context = self._asker.check(batch.column_names)
        found = self._asker.columns(batch[question].to_pylist(), batch[context].to_pylist())
        for name, kind, values in zip(OWN, _TYPES, found, strict=True):
            batch = batch.append_column(name, arrow.array(values, arrow.type_for_alias(kind)))
        return batch


def answer_frames(
    model: Model,
    *,
    question_column: str = "question",
    context_column: str = "context",
    **options: Unpack[AskOptions],
) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return a function for Spark's `mapInPandas`: frames come back with the answers' columns.

    ```python
    frame.mapInPandas(answer_frames(model), answered_schema(frame.schema))
    ```

    Args:
        model: A `ServedModel` or a `LocalModel`.
        question_column: The name of the column of the questions.
        context_column: The name of the column of the contexts.
        **options: See `AskOptions`.

    Returns:
        The function, which takes and yields frames of pandas.

    Raises:
        InvalidOptionError: An argument is not valid.
    """
    asker = _Asker(model, question_column, context_column, options)

    def answer(frames: Iterator[Any]) -> Iterator[Any]:
        import pandas as pd

        for frame in frames:
            question, context = asker.check(list(frame.columns))
            found = asker.columns(_present(frame[question]), _present(frame[context]))
            yield frame.assign(
                **{
                    name: pd.Series(values, index=frame.index, dtype=kind)
                    for name, kind, values in zip(OWN, _PANDAS_TYPES, found, strict=True)
                }
            )

    return answer


def _present(column: Any) -> list[Any]:
    """Return the values of a column of pandas, which has NaN in place of a missing text."""
    return [
        None if missing else value for value, missing in zip(column, column.isna(), strict=True)
    ]


def answered_schema(schema: Any) -> Any:
    """Return the schema of Spark of a frame with the answers' columns.

    Args:
        schema: That of the frame without them, a `StructType`.

    Returns:
        A new `StructType`.

    Raises:
        DataError: The frame has a column as the answers have, in any case, as Spark reads names.
    """
    from pyspark.sql.types import StructType

    clashing = [name for name in schema.names if name.lower() in OWN]
    if clashing:
        raise DataError(f"The frame has a column {clashing[0]!r}, as the answers have: rename it.")
    made = StructType(list(schema.fields))
    for name, kind in zip(OWN, _SPARK_TYPES, strict=True):
        made = made.add(name, kind)
    return made
