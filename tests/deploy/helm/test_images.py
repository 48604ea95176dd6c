"""Images by their parts: registry, repository, tag and digest, or one text for all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.helm.golden import chart_version
from tests.support.chart import container, pod_specs, refusal, render, server_pod

DIGEST = f"sha256:{'a' * 64}"
IMAGES = ("model", "model.training", "server", "proxy", "httpApi", "switch", "test")


def at(path: str, image: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"image": image}
    for name in reversed(path.split(".")):
        values = {name: values}
    return values


def images(scenario: str, values: dict[str, Any]) -> set[str]:
    text = render(scenario, values).text
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    return {
        line.split(maxsplit=1)[1].strip('"')
        for line in lines
        if line.startswith(("image: ", "reference: "))
    }


@pytest.mark.parametrize("path", IMAGES)
def test_every_image_is_made_of_its_parts(path: str) -> None:
    scenario = {"model.training": "training", "switch": "switch"}.get(path, "default")
    image = {"registry": "r.example:5000/qa", "repository": "mine", "tag": 7, "digest": DIGEST}
    assert f"r.example:5000/qa/mine:7@{DIGEST}" in images(scenario, at(path, image))
    assert "r.example/mine:7" in images(scenario, at(path, "r.example/mine:7"))


@pytest.mark.parametrize("part", [{"registry": "r.example"}, {"tag": "7"}, {"digest": DIGEST}])
def test_each_part_can_be_changed_by_itself(part: dict[str, str]) -> None:
    repository = "openvino/model_server"
    before = container(server_pod(render()), "ovms")["image"]
    expected = {
        "registry": f"r.example/{before}",
        "tag": f"{repository}:7",
        "digest": f"{before}@{DIGEST}",
    }[next(iter(part))]
    found = render(values={"server": {"image": part}})
    assert container(server_pod(found), "ovms")["image"] == expected


def test_images_of_the_project_have_the_tag_of_the_chart() -> None:
    version = chart_version()
    found = images("default", {})
    assert {f"bert-qa-model:{version}", f"bert-qa-client:{version}"} <= found
    assert f"bert-qa-build:{version}" in images("training", {})
    assert f"bert-qa-switch:{version}" in images("switch", {})


def test_the_http_api_runs_in_the_image_of_the_test() -> None:
    pods = pod_specs(render(values={"test": {"image": {"tag": "7"}}}))
    found = {one["image"] for pod in pods.values() for one in pod["containers"]}
    assert "bert-qa-client:7" in found
    assert f"bert-qa-client:{chart_version()}" not in found


def test_the_default_model_is_an_image_in_its_newest_version() -> None:
    pod = server_pod(render("default"))
    (models,) = [one for one in pod["volumes"] if one["name"] == "models"]
    assert models["image"]["reference"] == f"bert-qa-model:{chart_version()}"
    older = server_pod(render("default", kubernetes="1.30.0"))
    assert container(older, "copy-model")["image"] == f"bert-qa-model:{chart_version()}"
    annotations = render("default").one("Deployment")["metadata"]["annotations"]
    assert annotations["bert-qa/version"] == "latest"


@pytest.mark.parametrize(
    "image", ["r/m:1", {"tag": "2"}, {"registry": "r.example"}, {"repository": "other"}]
)
def test_an_image_of_ones_own_is_a_source_beside_which_there_is_no_other(image: object) -> None:
    assert "more than one source (pvc, image)" in refusal({"model": {"image": image}})


@pytest.mark.parametrize(
    ("part", "wrong"),
    [("tag", "a:b"), ("tag", "-x"), ("digest", "sha256:ab"), ("registry", "r example")],
)
def test_parts_that_make_no_reference_are_refused(part: str, wrong: str) -> None:
    assert part in refusal({"server": {"image": {part: wrong}}})


@pytest.mark.parametrize("path", ["server", "proxy", "model", "test"])
def test_an_empty_tag_is_the_default(path: str) -> None:
    assert images("default", at(path, {"tag": ""})) == images("default", {})


@pytest.mark.parametrize("part", [{"registry": "r.example"}, {"tag": "7"}, {"digest": DIGEST}])
def test_no_part_of_the_image_of_the_http_api_is_left_out(part: dict[str, str]) -> None:
    """Without a repository it runs in the image of the test, whatever else is said."""
    (name,) = part
    assert f"httpApi.image.{name} is" in refusal({"httpApi": {"image": part}})
    assert render(values={"httpApi": {"image": part, "enabled": False}}).objects
