"""Every scenario of ci/ as a whole: lint, schemas, security, policies, golden renderings."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.deploy.helm.golden import GOLDEN, golden_path
from tests.deploy.helm.schemas import CUSTOM, kubernetes_schema
from tests.support.chart import CHART, NAMESPACE, SCENARIOS, pod_specs, render
from tools.programs import checkov, helm, older_helm

KUBERNETES_VERSIONS = ("1.29", "1.37")
scenarios = pytest.mark.parametrize("scenario", SCENARIOS)


@scenarios
def test_helm_lint_finds_nothing(scenario: str) -> None:
    lint(helm(), scenario)


def test_the_linter_of_helm_3_finds_nothing() -> None:
    lint(older_helm(), "pvc")


def lint(program: Path, scenario: str) -> None:
    values = str(SCENARIOS[scenario])
    command = [str(program), "lint", "--strict", "--quiet", str(CHART), "--values", values]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@scenarios
def test_helm_3_renders_what_helm_4_renders(scenario: str) -> None:
    assert render(scenario, program=older_helm()).text == render(scenario).text


@scenarios
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_object_holds_to_the_schemas(scenario: str, version: str) -> None:
    for found in render(scenario, kubernetes=f"{version}.0").objects:
        api, kind = found["apiVersion"], found["kind"]
        if f"{api} {kind}" in CUSTOM:
            jsonschema.validate(found["spec"], CUSTOM[f"{api} {kind}"])
        else:
            kubernetes_schema(api, kind, version).validate(found)


@pytest.mark.parametrize("scenario", ["kserve", "kserve-standard"])
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_the_pods_of_kserve_hold_to_the_schemas(scenario: str, version: str) -> None:
    service = render(scenario, kubernetes=f"{version}.0").one("InferenceService")["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kserve"}}
    keys = (
        *("initContainers", "containers", "volumes", "terminationGracePeriodSeconds"),
        *("serviceAccountName", "automountServiceAccountToken"),
    )
    for part in (service["predictor"], service["transformer"]):
        specification = {key: part[key] for key in keys if key in part}
        kubernetes_schema("v1", "Pod", version).validate({**pod, "spec": specification})


@scenarios
def test_every_pod_keeps_the_restricted_pod_security_standard(scenario: str) -> None:
    for name, pod in pod_specs(render(scenario)).items():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        kinds = set(itertools.chain.from_iterable(pod["volumes"])) - {"name"}
        allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "image", "projected"}
        assert kinds <= allowed | {"downwardAPI"}, name
        for one in [*pod.get("initContainers", []), *pod["containers"]]:
            security = one["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] == 5000
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not any("hostPort" in port for port in one.get("ports", []))


@scenarios
def test_every_name_is_short_and_unique(scenario: str) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in render(scenario).objects]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)


@scenarios
def test_every_object_names_the_release_that_it_belongs_to(scenario: str) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    expected = {
        "app.kubernetes.io/name": "bert-qa",
        "app.kubernetes.io/instance": "bert-qa",
        "app.kubernetes.io/managed-by": "Helm",
        "app.kubernetes.io/version": chart["appVersion"],
        "helm.sh/chart": f"{chart['name']}-{chart['version']}",
    }
    for found in render(scenario).objects:
        name = f"{found['kind']} {found['metadata']['name']}"
        assert expected.items() <= found["metadata"]["labels"].items(), name
        if found["kind"] != "PersistentVolume":
            assert found["metadata"]["namespace"] == NAMESPACE, name


def test_a_long_release_name_still_makes_valid_names() -> None:
    tracks = {"twenty-letters-track": {"version": 2, "weight": 0}}
    rendering = render("training", {"fullnameOverride": "n" * 40, "tracks": tracks})
    assert all(len(one["metadata"]["name"]) <= 63 for one in rendering.objects)


# Why each finding of the policy scanner is not a defect, by check and kind.
ACCEPTED = {
    ("CKV_K8S_43", "Deployment"): "Tags are the default; a digest may be given as the image.",
    ("CKV_K8S_43", "Job"): "Likewise.",
    ("CKV_K8S_43", "Pod"): "Likewise.",
    ("CKV_K8S_43", "PodTemplate"): "Likewise.",
    ("CKV_K8S_15", "Deployment"): "imagePullPolicy is a value; tags are never moved.",
    ("CKV_K8S_15", "Job"): "Likewise.",
    ("CKV_K8S_15", "Pod"): "Likewise.",
    ("CKV_K8S_15", "PodTemplate"): "Likewise.",
    ("CKV_K8S_40", "Deployment"): "5000 is the user of the server's own image.",
    ("CKV_K8S_40", "Job"): "5000 owns the volume that the server reads.",
    ("CKV_K8S_40", "Pod"): "All pods of the release run as one user.",
    ("CKV_K8S_8", "Pod"): "The test asks one question and ends.",
    ("CKV_K8S_9", "Pod"): "Likewise.",
    ("CKV_K8S_8", "PodTemplate"): "A switch ends, and is started again where its pod did.",
    ("CKV_K8S_9", "PodTemplate"): "Nothing asks it.",
    (
        "CKV_K8S_35",
        "Deployment",
    ): "OVMS reads the credentials of a store from its environment alone.",
    ("CKV_K8S_35", "Job"): "The scenario sets HF_TOKEN, which is read from the environment alone.",
}


@pytest.mark.thorough
def test_the_policy_scanner_finds_nothing_that_is_not_accepted(tmp_path: Path) -> None:
    for scenario in SCENARIOS:
        (tmp_path / f"{scenario}.yaml").write_text(render(scenario).text, encoding="utf-8")
    options = ("--framework", "kubernetes", "--quiet", "--compact", "--skip-download")
    scanned = subprocess.run(
        [str(checkov()), *options, "--output", "json", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(scanned.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    found = {
        (finding["check_id"], finding["resource"].partition(".")[0]): finding
        for finding in report["results"]["failed_checks"]
    }
    unexpected = [
        f"{finding['check_name']}: {finding['file_path']} {finding['resource']}"
        for key, finding in found.items()
        if key not in ACCEPTED
    ]
    assert not unexpected
    assert set(found) == set(ACCEPTED), "an accepted finding is gone: take it off the list"


@pytest.mark.parametrize("scenario", GOLDEN)
def test_the_rendering_is_the_golden_one(scenario: str) -> None:
    path = golden_path(scenario)
    assert render(scenario).text == path.read_text(encoding="utf-8"), (
        f"{path.name} differs: look at the change, then run `python -m tests.deploy.helm.golden`."
    )
