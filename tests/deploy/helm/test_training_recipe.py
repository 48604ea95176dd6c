"""templates/training-recipe.yaml."""

from __future__ import annotations

import pytest

from tests.support.chart import render

RECIPE = """\
name: mine  # a comment with "quotes"
source: {model: /data/checkpoint}
"""


@pytest.mark.parametrize(
    "recipe", [RECIPE, "  name: a\n  source: {}\n", "# \u00e4\r\nname: 'a: b'"]
)
def test_the_recipe_arrives_as_it_was_given(recipe: str) -> None:
    rendering = render("training", {"model": {"training": {"recipe": recipe}}})
    assert rendering.one("ConfigMap", "bert-qa-recipe")["data"]["recipe.yaml"] == recipe


def test_a_config_map_that_exists_is_mounted_instead() -> None:
    values = {"model": {"training": {"recipe": "", "recipeConfigMap": "mine"}}}
    rendering = render("training", values)
    names = [one["metadata"]["name"] for one in rendering.all("ConfigMap")]
    assert "bert-qa-recipe" not in names
    volumes = rendering.one("Job")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "recipe", "configMap": {"name": "mine"}} in volumes
