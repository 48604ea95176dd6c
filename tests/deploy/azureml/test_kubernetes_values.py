from __future__ import annotations

import json
import subprocess

import yaml

from tests.deploy.azureml.conftest import AZUREML
from tests.support.chart import CHART
from tools.programs import helm


def test_the_chart_serves_from_the_workspace_s_storage() -> None:
    values = AZUREML / "kubernetes-values.yaml"
    rendered = subprocess.run(
        [str(helm()), "template", "bert-qa", str(CHART), "--values", str(values)],
        capture_output=True,
        text=True,
        check=True,
    )
    objects = [each for each in yaml.safe_load_all(rendered.stdout) if each]
    (config,) = [
        json.loads(each["data"]["config.json"])
        for each in objects
        if each["kind"] == "ConfigMap" and "config.json" in each["data"]
    ]
    (model,) = [entry["config"] for entry in config["model_config_list"]]
    assert model["base_path"] == "az://models/bert-qa-repository/bert-qa"
    assert model["model_version_policy"] == {"specific": {"versions": [1]}}
    (pods,) = [
        each["spec"]
        for each in objects
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "bert-qa-stable"
    ]
    assert pods["replicas"] == 2
    server = next(each for each in pods["template"]["spec"]["containers"] if each["name"] == "ovms")
    assert server["envFrom"] == [{"secretRef": {"name": "bert-qa-storage"}}]
