from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from onnx import save

from bertqa.artifact import Repository
from bertqa.errors import ModelLoadError, RepositoryError
from bertqa_build.export import to_onnx, to_openvino, write_openvino
from bertqa_build.inspection import (
    NOT_QUANTISED,
    Inspection,
    inspect,
    measure_speed,
    operation_changes,
)
from bertqa_build.model import SpanModel
from bertqa_build.report import render
from tests.support.families import FAMILIES
from tests.support.models import model_info, write_manifest, write_published_version

LAYERS = 6
LINEAR = 6 * LAYERS + 1
PRODUCTS = LINEAR + 2 * LAYERS


@pytest.fixture(scope="module")
def versions(demo_repository: Repository) -> tuple[Inspection, Inspection]:
    return inspect(demo_repository, 1), inspect(demo_repository, 2)


def test_every_product_is_listed_with_what_it_runs_in(
    versions: tuple[Inspection, Inspection],
) -> None:
    fp32, int8 = versions
    assert len(fp32.products) == len(int8.products) == PRODUCTS
    assert {product.name for product in fp32.products} == {each.name for each in int8.products}
    assert {product.reason for product in fp32.products} == {NOT_QUANTISED}
    assert not any(product.int8 for product in fp32.products)
    linear = [product for product in int8.products if "(" not in product.name]
    assert len(linear) == LINEAR
    for product in linear:
        assert product.int8, product
        assert product.runs_in in ("i8", "u8")
        assert not product.reason
    values = [product for product in int8.products if product.name.endswith("values)")]
    keys = [product for product in int8.products if product.name.endswith("keys)")]
    assert len(keys) == len(values) == LAYERS
    assert all(bool(product.reason) is not product.int8 for product in (*keys, *values))
    assert all(len(product.ranges) == 2 for product in (*keys, *values))


def test_each_product_in_int8_has_the_ranges_of_its_activations(
    versions: tuple[Inspection, Inspection],
) -> None:
    fp32, int8 = versions
    assert not any(product.ranges for product in fp32.products)
    for product in int8.products:
        if product.int8:
            expected = 2 if "(" in product.name else 1
            assert len(product.ranges) == expected, product
            assert all(low < high for low, high in product.ranges)
    assert int8.executed["FullyConnected"].keys() & {"i8", "u8"}
    assert set(fp32.executed["FullyConnected"]) == {"f32"}


def test_quantisers_operations_and_sizes_are_counted(
    versions: tuple[Inspection, Inspection],
) -> None:
    fp32, int8 = versions
    assert set(fp32.quantizers.values()) == {0}
    assert all(int8.quantizers.values())
    assert int8.quantizers["DequantizeLinear"] > int8.quantizers["QuantizeLinear"]
    assert len(int8.ranges) == int8.quantizers["FakeQuantize"]
    assert all(each.low < each.high for each in int8.ranges)
    changes = operation_changes(fp32, int8)
    assert ("MatMul", LINEAR, PRODUCTS) in changes
    assert abs(changes[0][2] - changes[0][1]) >= abs(changes[-1][2] - changes[-1][1])
    assert set(fp32.sizes) == {"model.xml", "model.bin", "model.onnx"}
    assert int8.ir_size < fp32.ir_size / 3


def test_a_version_that_is_not_there_is_named(demo_repository: Repository) -> None:
    with pytest.raises(RepositoryError, match="has no version 7"):
        inspect(demo_repository, 7)


class Page(HTMLParser):
    """Collects what a page would fetch, its headings, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_no_window_is_timed_that_a_version_does_not_take(tmp_path: Path) -> None:
    write_published_version(tmp_path, 1)
    longest = model_info().max_seq_len
    lengths = (16, longest + 1, longest + 2)
    speeds = measure_speed(Repository(tmp_path), (1,), lengths=lengths, repeats=1)
    assert [each.tokens for each in speeds[1]] == [16, longest]


def test_the_report_is_one_whole_page(
    demo_repository: Repository, versions: tuple[Inspection, Inspection]
) -> None:
    speeds = measure_speed(demo_repository, (1, 2), lengths=(32,), repeats=2)
    html = render(*versions, speeds, "a <small> machine")
    page = Page()
    page.feed(html)
    assert not page.fetched
    assert not page.open
    text = " ".join(page.text)
    for heading in ("Accuracy", "Size", "Speed", "Operations", "Matrix products", "Activation"):
        assert heading in text
    assert "a <small> machine" in text
    for version in versions:
        assert version.manifest.scores is not None
        assert f"{version.manifest.scores.f1:.2f} %" in text
    assert f"of {PRODUCTS}" in text
    assert html.count("<svg") == 5


def test_each_product_of_an_attention_that_is_not_fused_has_its_own_name(tmp_path: Path) -> None:
    (row,) = (row for row in FAMILIES if row.model_type == "deberta-v2")
    model = SpanModel(row.model())
    directory = tmp_path / "bert-qa" / "1"
    directory.mkdir(parents=True)
    write_openvino(to_openvino(model), model_info(), directory / "model.xml")
    write_manifest(directory)
    onnx = tmp_path / "bert-qa-onnx" / "1"
    onnx.mkdir(parents=True)
    save(to_onnx(model), onnx / "model.onnx")
    write_manifest(onnx)

    names = [product.name for product in inspect(Repository(tmp_path), 1).products]
    assert len(set(names)) == len(names)
    of_a_layer = [name for name in names if name.startswith("encoder.layer.0.attention.self (")]
    parts = ["queries x keys", "distances 1", "distances 2", "probabilities x values"]
    assert of_a_layer == [f"encoder.layer.0.attention.self ({part})" for part in parts]


def test_a_damaged_onnx_is_named(tmp_path: Path) -> None:
    write_published_version(tmp_path, 1)
    with pytest.raises(ModelLoadError, match=r"bert-qa-onnx/1/model\.onnx is not an ONNX model"):
        inspect(Repository(tmp_path), 1)
