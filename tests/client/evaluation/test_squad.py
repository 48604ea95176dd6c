from __future__ import annotations

import gzip
import io
import json
import lzma
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertqa.errors import DataError
from bertqa.evaluation import GoldAnswer, read_squad

CONTEXT = "Zoë wrote the 😀 opera in 1921."


def document(*qas: dict[str, Any], context: object = CONTEXT) -> dict[str, Any]:
    return {
        "version": "1.1",
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}],
    }


def qa(identifier: str = "q1", *answers: tuple[str, int], **more: object) -> dict[str, Any]:
    golds = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": identifier, "question": "Who wrote it?", "answers": golds, **more}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_reads_several_golds_and_counts_offsets_in_characters(tmp_path: Path) -> None:
    path = write(tmp_path, document(qa("a", ("Zoë", 0), ("opera", 16)), qa("b", ("1921", 25))))
    dataset = read_squad(path)
    assert [question.id for question in dataset] == ["a", "b"]
    first = dataset.questions[0]
    assert first.answers == (GoldAnswer("Zoë", 0), GoldAnswer("opera", 16))
    for question in dataset:
        for gold in question.answers:
            assert question.context[gold.start :][: len(gold.text)] == gold.text
    assert dataset.name == "data.json"
    assert not dataset.has_impossible
    assert dataset.warning is None


def test_reads_unanswerable_questions_marked_or_not(tmp_path: Path) -> None:
    marked = qa("a", is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 99}])
    path = write(tmp_path, document(marked, qa("b"), qa("c", ("Zoë", 0), is_impossible=False)))
    assert [question.is_impossible for question in read_squad(path)] == [True, True, False]


def test_misplaced_answers_up_to_one_percent_are_left_out_and_named(tmp_path: Path) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(198)]
    path = write(tmp_path, document(*good, qa("half", ("Zoë", 1), ("Zoë", 0))))
    dataset = read_squad(path)
    assert len(dataset) == 199
    assert dataset.questions[-1].answers == (GoldAnswer("Zoë", 0),)
    assert dataset.misplaced == ("half",)
    assert dataset.warning is not None
    assert "1 answers" in dataset.warning
    assert "half" in dataset.warning


def test_a_question_with_no_answer_in_place_is_left_out_not_made_impossible(tmp_path: Path) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(99)]
    dataset = read_squad(write(tmp_path, document(*good, qa("bad", ("opera", 3)))))
    assert "bad" not in {question.id for question in dataset}
    assert not dataset.has_impossible


def test_more_than_one_percent_misplaced_is_refused(tmp_path: Path) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(98)]
    path = write(tmp_path, document(*good, qa("bad", ("opera", 3), ("Zoë", 5))))
    with pytest.raises(DataError, match=r"2 of 100 answers.*1%.*bad"):
        read_squad(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON: .* line 1, column 2"),
        ("[]", "holds no question"),
        ({}, "at the document, data is missing"),
        ({"data": None}, "data is null and should be a list"),
        (
            {"data": [{"paragraphs": [{"qas": []}]}]},
            r"data\[0\]\.paragraphs\[0\], context is missing",
        ),
        ({"data": []}, "holds no question"),
        (document(qa(), context="  "), "context is empty"),
        (document(qa(), context=7), "context is a number and should be text"),
        (document(qa(question="")), r"qas\[0\], question is empty"),
        (document(qa("a", ("Zoë", 0)), qa("a", ("Zoë", 0))), r"qas\[1\], the id 'a' stands for"),
        (document(qa("a", ("", 0))), r"answers\[0\], text is empty"),
        (document(qa("a", ("Zoë", -1))), "answer_start is -1"),
        (document(qa("a", is_impossible=False)), "is_impossible is False with 0 answers"),
        (document(qa("a", ("Zoë", 0), is_impossible=True)), "is_impossible is True with 1 answers"),
        (document(qa("a", answers=["x"])), "found text where an object should be"),
        ('{"data": [{"paragraphs": [{"context": "\\ud800", "qas": []}]}]}', "half a surrogate"),
    ],
)
def test_what_is_not_squad_is_refused_with_file_and_place(
    tmp_path: Path, content: object, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as raised:
        read_squad(path)
    assert str(path) in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The file .*nowhere\.json does not exist"):
        read_squad(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="is an empty directory, without data"):
        read_squad(str(tmp_path))
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not valid JSON in UTF-8"):
        read_squad(binary)


FLAT = [
    {
        "id": f"f{n}",
        "title": "t",
        "context": CONTEXT,
        "question": "Who wrote it?",
        "answers": {"text": [text] * golds, "answer_start": [start] * golds},
    }
    for n, (text, start, golds) in enumerate([("Zoë", 0, 2), ("opera", 16, 1), ("", 0, 0)])
]
EXPECTED = [
    ("f0", (GoldAnswer("Zoë", 0), GoldAnswer("Zoë", 0))),
    ("f1", (GoldAnswer("opera", 16),)),
    ("f2", ()),
]
LINES = "".join(json.dumps(record) + "\n" for record in FLAT).encode()


def parquet(records: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), file)
    return file.getvalue()


def as_pairs(record: dict[str, Any]) -> dict[str, Any]:
    """Answers one by one, as SQuAD's own are."""
    golds = zip(record["answers"]["text"], record["answers"]["answer_start"], strict=True)
    return {**record, "answers": [{"text": text, "answer_start": start} for text, start in golds]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.jsonl", LINES),
        ("data.json", LINES),
        ("data.json", LINES.decode().replace("Zo\\u00eb", "Zoë").encode("utf-8-sig")),
        ("data.json", json.dumps(FLAT, ensure_ascii=False).encode("utf-16")),
        ("data.ndjson.gz", gzip.compress(LINES)),
        ("data.json.gz", gzip.compress(LINES)),
        ("data.json", json.dumps(FLAT, indent=1).encode()),
        ("data.json.gz", gzip.compress(json.dumps({"data": FLAT}).encode())),
        ("data.jsonl", "".join(json.dumps(as_pairs(each)) + "\r\n\r\n" for each in FLAT).encode()),
        ("train.parquet", parquet(FLAT)),
        ("train.parquet", parquet([as_pairs(each) for each in FLAT])),
        ("named-wrongly.json", parquet(FLAT)),
    ],
)
def test_flat_records_are_read_in_every_form_that_libraries_write(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    dataset = read_squad(path)
    assert [(question.id, question.answers) for question in dataset] == EXPECTED
    assert {question.context for question in dataset} == {CONTEXT}
    assert dataset.name == name


def test_one_record_is_a_data_set_and_squad_may_stand_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(LINES.splitlines()[0])
    assert len(read_squad(path)) == 1
    path.write_text(json.dumps(document(qa("a", ("Zoë", 0)))))
    assert len(read_squad(path)) == 1
    packed = tmp_path / "squad.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_squad(packed).questions == read_squad(path).questions


def test_ids_may_be_numbers_and_what_is_null_is_not_there(tmp_path: Path) -> None:
    lacking = qa("b", is_impossible=True)
    del lacking["answers"]
    path = write(
        tmp_path,
        document(
            {**qa("a", ("Zoë", 0)), "id": 7},
            lacking,
            qa("c", is_impossible=True, answers=None),
            qa("d", ("Zoë", 0), is_impossible=None),
            qa("e", is_impossible=None),
            qa("f", is_impossible=1),
        ),
    )
    dataset = read_squad(path)
    assert [question.id for question in dataset] == ["7", "b", "c", "d", "e", "f"]
    impossible = [False, True, True, False, True, True]
    assert [question.is_impossible for question in dataset] == impossible


def test_an_empty_text_of_an_impossible_question_is_left_out(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        document(
            qa("a", ("", -1), is_impossible=True),
            qa("b", ("", 0), is_impossible=1),
            qa("c", is_impossible=True, answers={"text": [""], "answer_start": [-1]}),
            qa("d", is_impossible=True, answers=[{"text": None, "answer_start": None}]),
        ),
    )
    assert [question.is_impossible for question in read_squad(path)] == [True] * 4
    for mark in ({}, {"is_impossible": False}, {"is_impossible": None}):
        with pytest.raises(DataError, match="text is empty"):
            read_squad(write(tmp_path, document(qa("a", ("", 0), **mark))))


def test_whole_numbers_may_have_a_point(tmp_path: Path) -> None:
    record = {**qa("a"), "id": 7.0, "answers": [{"text": "opera", "answer_start": 16.0}]}
    (question,) = read_squad(write(tmp_path, document(record)))
    assert (question.id, question.answers) == ("7", (GoldAnswer("opera", 16),))
    for start in (16.5, math.nan, math.inf, True, "16"):
        record["answers"] = [{"text": "opera", "answer_start": start}]
        with pytest.raises(DataError, match="answer_start is"):
            read_squad(write(tmp_path, document(record)))


def test_answers_that_are_missing_without_a_mark_are_a_fault(tmp_path: Path) -> None:
    for more in ({}, {"is_impossible": False}, {"is_impossible": None}):
        record = {**FLAT[0], **more}
        del record["answers"]
        with pytest.raises(DataError, match="answers is missing"):
            read_squad(write(tmp_path, [record]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINES + b"{\n", "line 4"),
        (b'{"train": [], "test": []}', "at record 1, context is missing: found train, test"),
        (b"{}", "at the document, data is missing: found nothing"),
        (LINES + b"[]\n", "at record 4, found a list"),
        (
            json.dumps([{**FLAT[0], "answers": {"text": ["Zoë"]}}]).encode(),
            "answer_start is missing",
        ),
        (
            json.dumps([{**FLAT[0], "answers": {"text": ["Zoë"], "answer_start": []}}]).encode(),
            "at record 1.answers, 1 texts have 0 values of answer_start",
        ),
        (json.dumps([{**FLAT[0], "id": True}]).encode(), "at record 1, id is true or false"),
        (json.dumps([FLAT[0], {**FLAT[1], "id": "f0"}]).encode(), "record 2, the id 'f0' stands"),
        (gzip.compress(LINES * 100)[:-20], "compressed data are cut short"),
        (parquet(FLAT)[:-20], "cannot be read as Parquet"),
        (b"PK\x03\x04" + bytes(9), "is a ZIP archive or a workbook, not text: unpack it"),
        (lzma.compress(LINES), "is compressed with xz, not text"),
        (b'{"id": "caf\xe9"}\n', "not valid JSON in UTF-8"),
    ],
)
def test_flat_records_that_are_damaged_are_refused_with_their_place(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_squad(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("start", "unit"), [(17, "UTF-16 units, as JavaScript"), (20, "bytes of UTF-8")]
)
def test_offsets_in_other_units_are_named(tmp_path: Path, start: int, unit: str) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(99)]
    wrong = [qa(f"w{n}", ("opera", start)) for n in range(3)]
    with pytest.raises(DataError, match=f"count {unit}.*count characters"):
        read_squad(write(tmp_path, document(*good, *wrong)))
    dataset = read_squad(write(tmp_path, document(*good, *good_more(), wrong[0])))
    assert dataset.warning is not None
    assert f"count {unit}" in dataset.warning
    mixed = [*good, wrong[0], qa("far", ("opera", 2)), qa("off", ("opera", 3))]
    with pytest.raises(DataError, match=r"Offsets count characters, not bytes\."):
        read_squad(write(tmp_path, document(*mixed)))


def good_more() -> list[dict[str, Any]]:
    return [qa(f"m{n}", ("Zoë", 0)) for n in range(99)]


COLUMNS = "id,question,context,answer,answer_start,is_impossible"
TABLE = f"""{COLUMNS}
1,Who wrote it?,{CONTEXT},Zoë,0,False
2,What?,{CONTEXT},opera,,
3,When?,{CONTEXT},,,True
"""
BLANK = ",,, ,,\n"
"""A row that a spreadsheet leaves where its cells were emptied."""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", TABLE.encode()),
        ("data.csv.gz", gzip.compress(TABLE.encode())),
        ("data.csv", f"{TABLE}{BLANK}{BLANK}".encode()),
        ("data.tsv", TABLE.replace(",", "\t").encode("utf-16")),
        ("data.csv", TABLE.replace("question", "Question").replace(",", ";").encode("utf-8-sig")),
        ("data.csv", TABLE.replace("answer,answer_start", "answer_text,Start").encode()),
        (
            "data.parquet",
            parquet(
                [
                    {"question": "Who?", "context": CONTEXT, "answer": "Zoë", "answer_start": 0.0},
                    {"question": "What?", "context": CONTEXT, "answer": "opera"},
                    {"question": "When?", "context": CONTEXT, "answer": None},
                ]
            ),
        ),
        (
            "data.csv",
            (
                "question,context,answers\n"
                f'Who?,{CONTEXT},"{{""text"": [""Zoë""], ""answer_start"": [0]}}"\n'
                f'What?,{CONTEXT},"[{{""text"": ""opera"", ""answer_start"": 16}}]"\n'
                f"When?,{CONTEXT},\n"
            ).encode(),
        ),
    ],
)
def test_a_table_has_answers_in_columns(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    answers = [question.answers for question in read_squad(path)]
    assert answers == [(GoldAnswer("Zoë", 0),), (GoldAnswer("opera", 16),), ()]


def test_a_record_without_an_id_is_known_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"question,context,answer\nWho?,{CONTEXT},Zoë\n", encoding="utf-8")
    assert [question.id for question in read_squad(path)] == ["line 2"]
    for nested in ({**qa("a"), "id": None}, {"question": "Who?", "answers": []}):
        with pytest.raises(DataError, match=r"at data\[0\].*id is"):
            read_squad(write(tmp_path, document(nested)))


def test_an_answer_without_a_place_is_the_first_one_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = f"question,context,answer\nWho?,{CONTEXT},e\nWhat?,{CONTEXT},1921\n"
    path.write_text(rows, encoding="utf-8")
    dataset = read_squad(path)
    assert dataset.questions[0].answers == (GoldAnswer("e", CONTEXT.index("e")),)
    assert dataset.warning is not None
    assert "1 answers have no answer_start and are in their context more than once" in (
        dataset.warning
    )
    path.write_text(rows + f"Which?,{CONTEXT},1922\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 of 3 answers.*line 4"):
        read_squad(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "question,text,answer\na,b,c\n", "no column context; its columns are question,"),
        ("a.csv", "question,context\na,b\n", r"no column answers \(or answer\)"),
        ("a.csv", "question,context,answer\n,b,b\n", "is not like SQuAD: at line 2, question is"),
        ("a.csv", "question,context,answer,start\na,b,b,x\n", "at line 2.*answer_start is 'x'"),
        ("a.jsonl", '{"question": "a", "context": "b"}\n', "answers is missing: found question, c"),
        ("a.jsonl", '{"question": "a"}\n{\n', "context is missing: found question"),
        ("a.jsonl", "{\n", "a.jsonl cannot be read: Line 1 is not valid JSON"),
        ("a.json", '[{"id": 1, "question": "a", "context": "b", "answers": null}]', "is null and"),
        (
            "a.json",
            '[{"question": "a", "context": "b", "answers": [null]}]',
            "found null where an object should be",
        ),
        (
            "a.json",
            '[{"question": "a", "context": "b", "answers": {"text": [null], "answer_start": [0]}}]',
            "text is null and should be text",
        ),
        ("a.csv", "", "has no column question and no column context"),
        ("a.xls", "a", r"a\.xls has to end in \.csv"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_squad(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data/absent.json", r"The file data/absent\.json does not exist"),
        ("absent.csv:train", r"The file absent\.csv does not exist"),
        ("./absent", r"The file absent does not exist"),
        ("a/b/c", r"The file a/b/c does not exist"),
        ("https://example.org/a.json", "is a URL, which is not read"),
        ("org/name@", "names no revision after the @"),
    ],
)
def test_what_is_not_there_is_never_looked_for_on_the_hub(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_squad(text)
    with pytest.raises(DataError, match="The file squad does not exist"):
        read_squad(Path("squad"))


@pytest.mark.parametrize(
    "cell",
    [
        "{'text': ['Anna'], 'answer_start': [0]}",
        "{'text': array(['Anna'], dtype=object), 'answer_start': array([0])}",
        "[{'text': 'Anna', 'answer_start': 0}]",
    ],
)
def test_answers_that_python_wrote_are_not_taken_for_json(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f'question,context,answers\nWho?,Anna wrote it.,"{cell}"\n', encoding="utf-8")

    with pytest.raises(DataError, match=r"line 2.*has to be JSON, as json\.dumps writes"):
        read_squad(path)
