"""What the HTTP API takes and returns, as OpenAPI describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PrivateAttr,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

from bertqa._checks import MOST, MOST_VERSION
from bertqa.client import AskOptions, check_options, check_top_k
from bertqa.qa import SquadDecoder

_NULL = {"type": "null"}


@dataclass(frozen=True, slots=True)
class _Option:
    """The annotation of a field that is an option of the client, which checks it.

    Attributes:
        name: The option's name.
        kind: Its type in JSON.
        text: What it does.
        least: The least value.
        most: The greatest value.
    """

    name: str
    kind: str
    text: str
    least: int | None = None
    most: int = MOST

    def __get_pydantic_core_schema__(
        self, _: object, __: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, _: core_schema.CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        limits = {} if self.least is None else {"minimum": self.least, "maximum": self.most}
        kind = {"type": self.kind, **limits}
        return {"anyOf": [kind, _NULL], "default": None, "description": self.text}

    def _check(self, value: Any) -> Any:
        if value is None:  # As if it were left out: many a JSON library writes all fields.
            return None
        if self.name == "top_k":
            return check_top_k(self.name, value)
        return check_options({self.name: value})[self.name]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(_Strict):
    """How to answer; the names are those of the `question-answering` pipeline."""

    top_k: Annotated[
        int | None,
        _Option("top_k", "integer", "How many answers to return at most; 1 if left out.", 1),
    ] = None
    max_seq_len: Annotated[
        int | None, _Option("max_seq_len", "integer", "The length of a window, in tokens.", 1)
    ] = None
    doc_stride: Annotated[
        int | None, _Option("doc_stride", "integer", "The overlap of windows, in tokens.", 0)
    ] = None
    max_question_len: Annotated[
        int | None,
        _Option("max_question_len", "integer", "How many tokens of the question are kept.", 1),
    ] = None
    max_answer_len: Annotated[
        int | None,
        _Option("max_answer_len", "integer", "How many tokens an answer has at most.", 1),
    ] = None
    align_to_words: Annotated[
        bool | None,
        _Option("align_to_words", "boolean", "Whether to widen an answer to whole words."),
    ] = None
    handle_impossible_answer: Annotated[
        bool | None,
        _Option(
            "handle_impossible_answer", "boolean", 'Whether "no answer" competes with the answers.'
        ),
    ] = None
    offset_unit: Annotated[
        Literal["codepoint", "utf16"],
        Field(
            description="What start and end count: Unicode code points, or the units of "
            "JavaScript's strings."
        ),
    ] = "codepoint"

    def options(self) -> AskOptions:
        """Return the options that were set, for the client."""
        given = self.model_dump(exclude_unset=True, exclude=_NOT_OPTIONS)
        return {name: value for name, value in given.items() if value is not None}  # type: ignore[return-value]


_NOT_OPTIONS = {
    *("top_k", "offset_unit", "question", "context", "pairs", "model", "routing_key", "decoder")
}


_OF_THE_OTHER_DECODER = ("max_answer_len", "align_to_words", "handle_impossible_answer")


class QuestionInContext(_Strict):
    """A question, and the text that may hold the answer."""

    question: str
    context: str


def _how_many(value: Any) -> str:
    return "many" if isinstance(value, list) else "one"


class HuggingFaceRequest(_Strict):
    """A request in the form of Hugging Face's inference API."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": {
                        "question": "How fast is light?",
                        "context": "Light travels 186,282 miles in a second.",
                    },
                    "parameters": {"top_k": 1},
                }
            ]
        }
    )

    inputs: Annotated[
        Annotated[QuestionInContext, Tag("one")]
        | Annotated[list[QuestionInContext], Tag("many"), Field(min_length=1, fail_fast=True)],
        Discriminator(_how_many),
    ]
    parameters: Parameters | None = None
    options: Annotated[
        dict[str, Any] | None, Field(description="Taken for compatibility, without effect.")
    ] = None


class HuggingFaceAnswer(BaseModel):
    """An answer in the form of Hugging Face's inference API."""

    answer: str
    score: float
    start: int
    end: int


class Squad(_Strict):
    """The post-processing that is standard for SQuAD, in place of the pipeline's."""

    name: Literal["squad"]
    n_best: int | None = None
    max_answer_len: int | None = None
    null_score_threshold: float | None = None
    _decoder: SquadDecoder = PrivateAttr()

    @model_validator(mode="after")
    def _check(self) -> Squad:
        self._decoder = SquadDecoder(**self.model_dump(exclude={"name"}, exclude_none=True))
        return self

    @property
    def decoder(self) -> SquadDecoder:
        """The decoder."""
        return self._decoder


class AnswersRequest(Parameters):
    """One question, or many as `pairs`, which may share one `context`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "question": "How fast is light?",
                    "context": "Light travels 186,282 miles in a second.",
                    "top_k": 3,
                },
                {
                    "context": "Light travels 186,282 miles in a second.",
                    "pairs": [{"question": "How fast is light?"}, {"question": "What is fast?"}],
                },
            ]
        }
    )

    question: str | None = None
    context: Annotated[
        str | None, Field(description="The text; with `pairs`, that of pairs without one.")
    ] = None
    pairs: Annotated[
        list[Any] | None,
        WithJsonSchema(
            {
                "anyOf": [
                    {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "question": {"type": "string"},
                                "context": {"type": "string"},
                            },
                            "required": ["question"],
                        },
                    },
                    _NULL,
                ],
                "description": "Questions with texts. A bad one gets an `error` in its place.",
            }
        ),
    ] = None
    model: Annotated[
        str | None,
        Field(
            description="The model that answers: one of `GET /v1/models`; the first if left out."
        ),
    ] = None
    version: Annotated[
        int | None, _Option("version", "integer", "The version that answers.", 1, MOST_VERSION)
    ] = None
    routing_key: Annotated[
        str | None,
        Field(description="A key that always goes to the same version of those in the split."),
    ] = None
    decoder: Squad | None = None
    _options: AskOptions = PrivateAttr()

    @model_validator(mode="after")
    def _check(self) -> AnswersRequest:
        if self.pairs is None and (self.question is None or self.context is None):
            missing = [each for each in ("question", "context") if getattr(self, each) is None]
            verb = "is" if len(missing) == 1 else "are"
            raise ValueError(f"{' and '.join(missing)} {verb} missing.")
        if self.pairs is not None and self.question is not None:
            raise ValueError("Pass question, or pairs with a question each, and not both.")
        given = super().options()
        if self.decoder is not None:
            beside = [each for each in _OF_THE_OTHER_DECODER if each in given]
            if beside:
                raise ValueError(f"{', '.join(beside)} cannot be passed beside decoder.")
            given["decoder"] = self.decoder.decoder
        if self.routing_key is not None:
            given["key"] = self.routing_key
        check_options(given)  # Two may exclude each other.
        self._options = given
        return self

    def options(self) -> AskOptions:
        """Return the options that were set, for the client."""
        return self._options

    def pair(self, item: Any) -> tuple[str, str] | str:
        """Return the question and the context of one of the pairs, or what is wrong with it.

        Args:
            item: The pair.
        """
        if not isinstance(item, Mapping):
            return "A pair has to be an object with a question and a context."
        unknown = sorted(set(item) - {"question", "context"})
        if unknown:
            return f"There is no field {unknown[0][:80]!r} in a pair."
        found: dict[str, Any] = {
            "question": item.get("question"),
            "context": item.get("context", self.context),
        }
        for name, value in found.items():
            if value is None:
                return f"The {name} is missing."
            if not isinstance(value, str):
                return f"The {name} has to be a text."
        return found["question"], found["context"]


class FoundAnswer(BaseModel):
    """A stretch of the context that answers the question; empty where the context holds none."""

    text: str
    start: int
    end: int
    score: Annotated[float, Field(description="How likely it is the answer, from 0 to 1.")]
    model_version: int


class Answers(BaseModel):
    """The answers to one question, best first."""

    answers: list[FoundAnswer]


class Failure(BaseModel):
    """What went wrong, as a sentence."""

    error: str


class Results(BaseModel):
    """The results of many questions, in their order."""

    results: list[Answers | Failure]


class ServedVersion(BaseModel):
    """A version that is served."""

    version: int
    name: str
    state: Annotated[str, Field(description="AVAILABLE, or OVMS's word for what it is.")]
    is_default: bool
    share: Annotated[float | None, Field(description="Its share of the questions, in percent.")]
    precision: str
    source: str
    f1: float | None
    exact_match: float | None


class Versions(BaseModel):
    """What is served, and who answers what."""

    model: str
    versions: list[ServedVersion]
    split: Annotated[
        dict[int, float] | None,
        Field(description="The split of the traffic in percent, None where none was set."),
    ]


class NamedModel(BaseModel):
    """A model that a request may name."""

    name: str
    is_default: Annotated[bool, Field(description="Whether it answers where none is named.")]


class ServedModels(BaseModel):
    """The models that a request may name, the default one first."""

    models: list[NamedModel]


class Health(BaseModel):
    """Whether the service works."""

    status: Literal["ok"]
