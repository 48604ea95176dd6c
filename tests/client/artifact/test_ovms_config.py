"""A model that lies beside another one, in the terms of a server's configuration."""

from __future__ import annotations

import pytest

from bertqa.artifact import sibling_base_path


@pytest.mark.parametrize(
    ("base_path", "expected"),
    [
        ("bert-qa", "bert-qa-traffic"),
        ("/models/bert-qa/", "/models/bert-qa-traffic"),
        ("s3://bucket/models/bert-qa", "s3://bucket/models/bert-qa-traffic"),
    ],
)
def test_the_split_lies_beside_the_model_wherever_the_server_has_it(
    base_path: str, expected: str
) -> None:
    assert sibling_base_path({"base_path": base_path}, "bert-qa-traffic") == expected
