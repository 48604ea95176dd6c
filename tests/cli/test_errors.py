from __future__ import annotations

import pytest

from bertqa.errors import BertQAError, InvalidContextError
from bertqa_cli.errors import CommandError, Status, missing_extra, status_of


def test_a_missing_module_names_the_extra_that_brings_it() -> None:
    error = missing_extra(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))

    assert "pip install '.[build]'" in str(error)
    assert "torch is not installed" in str(error)


def test_a_missing_module_that_no_extra_brings_is_a_defect_and_stays_one() -> None:
    defect = ModuleNotFoundError("No module named 'bertqa.nothing'", name="bertqa.nothing")

    with pytest.raises(ModuleNotFoundError) as raised:
        missing_extra(defect)

    assert raised.value is defect


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BertQAError("failed"), Status.FAILED),
        (InvalidContextError("empty"), Status.USAGE),
        (CommandError("refused", status=Status.REFUSED), Status.REFUSED),
    ],
)
def test_statuses(error: BertQAError | CommandError, status: Status) -> None:
    assert status_of(error) is status
