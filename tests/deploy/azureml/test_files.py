"""The YAML files: Azure's SDK takes each, offline, and a dry run prints what it takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from azure.ai import ml

from bertqa.artifact import server_settings
from bertqa_deploy.azureml.files import Document, Files
from bertqa_deploy.azureml.plans import plan_serving, plan_training
from bertqa_deploy.errors import AzureFileError
from bertqa_serve.command import unknown_flags
from tests.deploy.azureml.conftest import AZUREML, PROJECT

KINDS = sorted(path.stem for path in AZUREML.glob("*.yml"))


def test_azure_s_own_loaders_take_every_file() -> None:
    assert [
        *("data", "deployment", "endpoint", "environment-build", "environment-serve"),
        *("job", "model", "sweep"),
    ] == KINDS
    for kind in KINDS:
        path = AZUREML / f"{kind}.yml"
        loaded = Files(AZUREML).read(kind).load()
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert str(content["$schema"]).startswith("https://azuremlschemas.azureedge.net/latest/")
        if "name" in content:
            assert loaded.name == content["name"]


def test_the_documentation_names_every_file() -> None:
    page = (PROJECT / "docs" / "azureml.md").read_text(encoding="utf-8")
    for path in AZUREML.glob("*.y*ml"):
        assert f"`{path.name}`" in page


def test_what_is_printed_is_what_is_loaded_from_anywhere(tmp_path: Path) -> None:
    plan = plan_serving(Files(AZUREML), 3, endpoint="our-qa", job="great_cat")
    path = tmp_path / "deployment.yml"
    path.write_text(plan.deployment.to_yaml(), encoding="utf-8")
    deployment = ml.load_online_deployment(path)
    assert (deployment.name, deployment.endpoint_name) == ("version-3", "our-qa")
    assert deployment.model == "bert-qa:3"
    path = tmp_path / "environment.yml"
    path.write_text(
        plan_training(Files(AZUREML)).environment.to_yaml(),
        encoding="utf-8",
    )
    context = ml.load_environment(path).build
    assert context is not None
    folder = Path(str(context.path))
    assert folder.samefile(PROJECT)
    assert (folder / str(context.dockerfile_path)).is_file()


def test_the_sweep_runs_the_job_s_own_command() -> None:
    job, sweep = (Files(AZUREML).read(kind).content for kind in ("job", "sweep"))
    command = str(sweep["trial"]["command"]).replace("${{search_space.", "${{inputs.")
    assert command == job["command"]
    swept = set(sweep["search_space"])
    assert swept | set(sweep["inputs"]) == set(job["inputs"])
    assert swept == {"learning_rate", "distillation_weight"}


def test_ovms_knows_every_argument_of_the_deployment() -> None:
    arguments = Files(AZUREML).read("deployment").content["environment_variables"]
    assert unknown_flags(arguments["OVMS_ARGUMENTS"].split()) == {}
    flagged = unknown_flags([*arguments["OVMS_ARGUMENTS"].split(), "--no_such_flag=1"])
    assert set(map(tuple, flagged.values())) == {("no_such_flag",)}


def test_the_server_of_the_deployment_has_the_settings_that_serve_would_choose() -> None:
    content = Files(AZUREML).read("deployment").content
    (cores,) = re.findall(r"_F(\d+)s_", content["instance_type"])
    settings = server_settings(int(cores))
    arguments = dict(
        argument.removeprefix("--").split("=", 1)
        for argument in content["environment_variables"]["OVMS_ARGUMENTS"].split()
    )
    assert json.loads(arguments["plugin_config"]) == settings.plugin_config
    for flag in ("rest_workers", "log_level"):
        assert arguments[flag] == settings.flags()[flag]
    requests = content["request_settings"]["max_concurrent_requests_per_instance"]
    assert requests < settings.rest_workers


def test_a_file_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(AzureFileError, match=r"endpoint\.yml cannot be read .*--files names"):
        Files(tmp_path).read("endpoint")
    for text in ("- a\n", "{", ""):
        (tmp_path / "endpoint.yml").write_text(text, encoding="utf-8")
        with pytest.raises(AzureFileError, match=r"endpoint\.yml"):
            Files(tmp_path).read("endpoint")
    wrong = Document(tmp_path / "deployment.yml", {"name": "x", "instances": 3})
    with pytest.raises(AzureFileError, match=r"deployment\.yml is not what Azure ML's schema"):
        wrong.load()
