import pytest

from bertqa_build.errors import RecipeError
from bertqa_build.floating_point import kept_nodes
from bertqa_build.graph import DISTANCES, PROBABILITIES_VALUES, QUERIES_KEYS
from bertqa_build.model import SpanModel
from tests.support.families import FAMILIES, Row

OWN = [row for row in FAMILIES if row.is_own]


def row_of(model_type: str) -> Row:
    (row,) = [row for row in FAMILIES if row.model_type == model_type]
    return row


@pytest.mark.parametrize("row", OWN, ids=str)
def test_each_product_of_attention_has_its_name_in_every_family(row: Row) -> None:
    model = SpanModel(row.model()).eval()
    layers = model.config.num_hidden_layers
    values = kept_nodes(model, [PROBABILITIES_VALUES])
    keys = kept_nodes(model, [QUERIES_KEYS])

    assert len(values) == layers
    distances = 2 * layers if row.model_type == "deberta-v2" else 0
    assert len(keys) == layers + distances
    assert not set(values) & set(keys)


def test_a_product_with_distances_is_known_by_the_name_that_is_printed() -> None:
    model = SpanModel(row_of("deberta-v2").model()).eval()
    attention = "encoder.layer.0.attention.self"
    first, second = (kept_nodes(model, [f"{attention} ({DISTANCES} {n})"]) for n in (1, 2))
    all_of_it = kept_nodes(model, [f"{attention} ({QUERIES_KEYS})"])

    assert len(first) == len(second) == 1
    assert first != second
    assert {*first, *second} < set(all_of_it)


def test_a_name_that_is_mistyped_is_refused_with_those_like_it() -> None:
    model = SpanModel(row_of("bert").model()).eval()
    right = f"encoder.layer.1.attention.self ({PROBABILITIES_VALUES})"
    with pytest.raises(RecipeError) as caught:
        kept_nodes(model, [right.replace("self", "slef")])
    assert f"There are {right}" in str(caught.value)
