"""templates/_alerts.tpl, evaluated by Prometheus: each fires where it should, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.helm.rules import Alert, Case, Release, alerts, check
from tests.support.chart import NAMESPACE, Manifest

# Their names begin or end like that of the one which is watched, or are the same elsewhere.
NEIGHBOURS = [
    Release(name, name, NAMESPACE)
    for name in ("bert-qa-2", "bert-qa-stable", "qa-bert-qa", "bert-qa-http", "bert")
] + [Release(namespace="other")]
VERSION = "version 2 of bert-qa (release bert-qa)"
Bad = Callable[[Release, bool], list[Manifest]]


def failing(release: Release, bad: bool) -> list[Manifest]:
    failed, succeeded = (5, 95) if bad else (0, 100)
    return [
        release.ovms("ovms_requests_fail", f"0+{failed}x60", method="ModelInfer"),
        release.ovms("ovms_requests_success", f"0+{succeeded}x60", method="ModelInfer"),
    ]


def slow(release: Release, bad: bool) -> list[Manifest]:
    fast = 0 if bad else 100
    return [
        release.ovms("ovms_request_time_us_bucket", f"0+{fast}x60", le="708235"),
        release.ovms("ovms_request_time_us_bucket", f"0+{fast}x60", le="1274823"),
        release.ovms("ovms_request_time_us_bucket", "0+100x60", le="2294682"),
        release.ovms("ovms_request_time_us_bucket", "0+100x60", le="+Inf"),
    ]


def queued(release: Release, bad: bool) -> list[Manifest]:
    wait = 223_510 if bad else 1_000
    return [
        release.ovms("ovms_wait_for_infer_req_time_us_sum", f"0+{wait * 100}x60"),
        release.ovms("ovms_wait_for_infer_req_time_us_count", "0+100x60"),
    ]


def deployed(name: str, ready: int, wanted: int = 2) -> Bad:
    """A Deployment of a release, with fewer pods than it should have where it is bad."""

    def made(release: Release, bad: bool) -> list[Manifest]:
        has = ready if bad else wanted
        return [
            release.kube("kube_deployment_spec_replicas", f"{wanted}x60", deployment=name),
            release.kube("kube_deployment_status_replicas_available", f"{has}x60", deployment=name),
        ]

    return made


def unreachable(release: Release, bad: bool) -> list[Manifest]:
    address = {"ip": "10.0.0.7", "ready": "false" if bad else "true"}
    return [
        release.kube("kube_endpoint_info", "1x60", endpoint=""),
        release.kube("kube_endpoint_address", "1x60", endpoint="", **address),
        release.kube("kube_endpoint_info", "1x60", endpoint="-http-api"),
        release.kube("kube_endpoint_address", "1x60", endpoint="-http-api", ready="true"),
    ]


def restarted(release: Release, bad: bool) -> list[Manifest]:
    # Five restarts in ten minutes, of the sidecar, which is an init container.
    counted = "0x20 1+1x4 5x40" if bad else "0x20 1x40"
    init = {"pod": "-stable-65f8bc9f8d-x7k2p", "container": "proxy"}
    return [
        release.kube("kube_pod_init_container_status_restarts_total", counted, **init),
        release.kube(
            "kube_pod_container_status_restarts_total", "1x60", **{**init, "container": "ovms"}
        ),
    ]


def unread(release: Release, bad: bool) -> list[Manifest]:
    pods = ("-stable-65f8bc9f8d-x7k2p", "-stable-65f8bc9f8d-abcde", "-http-api-7d9c5b6f4-qqqqq")
    found = []
    for pod in pods:
        found.append(release.kube("kube_pod_status_ready", "1x60", pod=pod, condition="true"))
        for endpoint, up in (("metrics", "1x60"), ("proxy", "0x60" if bad else "1x60")):
            labels = {"pod": f"{release.fullname}{pod}", "endpoint": endpoint}
            if pod != pods[0] or not bad:
                found.append(release.metric("up", up, **labels))
    return found


def refused(release: Release, bad: bool) -> list[Manifest]:
    overflow = 3 if bad else 0
    listener = {"envoy_http_conn_manager_prefix": "grpc"}
    cluster = {"envoy_cluster_name": "ovms_grpc"}
    kinds = ("pending_overflow", "timeout", "rx_reset", "pending_failure_eject")
    return [
        release.metric(
            "envoy_http_downstream_rq_xx", "0+100x60", envoy_response_code_class="2", **listener
        ),
        release.metric("envoy_cluster_upstream_rq_active_overflow", f"0+{overflow}x60", **cluster),
        *(release.metric(f"envoy_cluster_upstream_rq_{kind}", "0x60", **cluster) for kind in kinds),
    ]


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("active_overflow", "too many calls"),
        ("pending_overflow", "full queue"),
        ("timeout", "timeout"),
        ("rx_reset", "reset"),
        ("pending_failure_eject", "no connection"),
    ],
)
def test_each_way_in_which_a_proxy_fails_has_a_name(
    tmp_path: Path, metric: str, reason: str
) -> None:
    failed = Release().metric(
        f"envoy_cluster_upstream_rq_{metric}", "0+2x60", envoy_cluster_name="ovms_rest"
    )
    alert = Alert(
        "BertQAProxyFails",
        f"The proxies of release bert-qa fail 2 % of the requests ({reason}).",
        {"reason": reason},
    )
    found = [one for one in refused(Release(), False) if f"rq_{metric}{{" not in one["series"]]
    check(tmp_path, [Case(alert.name, [*found, failed], [alert])])


CASES: dict[str, tuple[Bad, Alert]] = {
    case.name: (bad, case)
    for bad, case in (
        (
            failing,
            Alert(
                "BertQARequestsFail",
                f"V{VERSION[1:]} fails 5 % of its requests.",
                {"version": "2"},
            ),
        ),
        (
            slow,
            Alert(
                "BertQASlow",
                f"One request in twenty to {VERSION} takes 2.244s or longer.",
                {"version": "2"},
            ),
        ),
        (
            queued,
            Alert(
                "BertQAQueueLong",
                f"Requests to {VERSION} wait 223.5ms for a free stream.",
                {"version": "2"},
            ),
        ),
        (
            deployed("-stable", ready=0),
            Alert(
                "BertQAServiceDown",
                "No pod of bert-qa-stable is ready, to which users' requests go.",
                {"deployment": "bert-qa-stable"},
            ),
        ),
        (
            deployed("-stable", ready=0),
            Alert(
                "BertQATrackDown",
                "No pod of bert-qa-stable is ready.",
                {"deployment": "bert-qa-stable"},
            ),
        ),
        (
            deployed("-http-api", ready=0),
            Alert(
                "BertQAHttpApiDown",
                "No pod of bert-qa-http-api is ready, so nothing answers over HTTP.",
                {"deployment": "bert-qa-http-api"},
            ),
        ),
        (
            unreachable,
            Alert(
                "BertQANoEndpoints",
                "The Service bert-qa has no ready pod behind it, so its connections are refused.",
                {"endpoint": "bert-qa"},
            ),
        ),
        (
            deployed("-stable", ready=3, wanted=5),
            Alert(
                "BertQAPodsMissing",
                "The wanted pods of bert-qa-stable have not all been ready for 15 minutes; 2 are "
                "missing now.",
                {"deployment": "bert-qa-stable"},
            ),
        ),
        (
            restarted,
            Alert(
                "BertQAContainerRestarts",
                "The container proxy of bert-qa-stable-65f8bc9f8d-x7k2p was restarted 5 times "
                "within an hour.",
                {"pod": "bert-qa-stable-65f8bc9f8d-x7k2p", "container": "proxy"},
            ),
        ),
        (
            unread,
            Alert(
                "BertQAMetricsMissing",
                "Prometheus cannot read the metrics of 3 ready pods of release bert-qa, so other "
                "alerts may be silent.",
            ),
        ),
        (
            refused,
            Alert(
                "BertQAProxyFails",
                "The proxies of release bert-qa fail 3 % of the requests (too many calls).",
                {"reason": "too many calls"},
            ),
        ),
    )
}


@pytest.mark.parametrize("name", CASES)
def test_it_fires_for_its_own_release_and_says_what_happened(tmp_path: Path, name: str) -> None:
    bad, alert = CASES[name]
    neighbours = [each for other in NEIGHBOURS for each in bad(other, False)]
    check(
        tmp_path,
        [
            Case(name, [*bad(Release(), True), *neighbours], [alert]),
            Case(name, bad(Release(), False)),
        ],
    )


@pytest.mark.parametrize("name", CASES)
def test_it_is_silent_about_its_neighbours(tmp_path: Path, name: str) -> None:
    bad, _ = CASES[name]
    beside = bad(Release(), False)
    check(
        tmp_path,
        [Case(name, [*own, *bad(other, True)]) for own in (beside, []) for other in NEIGHBOURS],
    )


REPLICA_SETS = ("-stable-5d9f", "-stable-7c4b")


def replica_sets(*pods: tuple[str, str], release: Release | None = None) -> list[Manifest]:
    """The old and the new version's wanted and ready pods under Argo Rollouts, by the minute."""
    return [
        (release or Release()).kube(metric, values, replicaset=name)
        for name, both in zip(REPLICA_SETS, pods, strict=True)
        for metric, values in zip(
            ("kube_replicaset_spec_replicas", "kube_replicaset_status_ready_replicas"),
            both,
            strict=True,
        )
    ]


OLD, NEW = (f"bert-qa{name}" for name in REPLICA_SETS)


@pytest.mark.parametrize(
    ("old", "new", "down"),
    [
        pytest.param(("3x20", "3x20"), ("1x20", "1x20"), [], id="both serve"),
        pytest.param(("3x20", "3x20"), ("1x20", "0x20"), [], id="the new one starts"),
        pytest.param(("3x20", "3x20"), ("1x10 0x10", "1x10 0x10"), [], id="the new one is aborted"),
        pytest.param(("3x20", "3x15 0x5"), ("1x20", "1x20"), [OLD], id="the old one is down"),
        pytest.param(("3x20", "3x20"), ("1x20", "1x15 0x5"), [NEW], id="the new one is down"),
        pytest.param(("3x20", "3x5 0x15"), ("0x20", "0x20"), [""], id="all is down"),
    ],
)
def test_under_argo_rollouts_each_role_is_missed_for_itself(
    tmp_path: Path, old: tuple[str, str], new: tuple[str, str], down: list[str]
) -> None:
    fire = [
        Alert(
            "BertQAServiceDown",
            f"No pod of {name or 'bert-qa-stable'} is ready, to which users' requests go.",
            {"replicaset": name} if name else {},
        )
        for name in down
    ]
    neighbour = replica_sets(old, ("1x20", "0x20"), release=Release("b", "bert-qa-stable"))
    found = [*replica_sets(old, new), *neighbour]
    check(tmp_path, [Case("BertQAServiceDown", found, fire, at="19m")], "rollouts")


def test_under_argo_rollouts_a_version_without_pods_is_missed(tmp_path: Path) -> None:
    labels = {"replicaset": NEW}
    series = replica_sets(("3x60", "3x60"), ("2x60", "0x60"))
    down = Alert("BertQATrackDown", f"No pod of {NEW} is ready.", labels)
    missing = Alert(
        "BertQAPodsMissing",
        f"The wanted pods of {NEW} have not all been ready for 15 minutes; 2 are missing now.",
        labels,
    )
    cases = [Case(alert.name, series, [alert]) for alert in (down, missing)]
    check(tmp_path, cases, "rollouts")


@pytest.mark.parametrize(
    ("scenario", "name", "other"),
    [
        ("kserve", "-predictor-00002-deployment", "-x-predictor-00001-deployment"),
        ("kserve-standard", "-predictor", "-x-predictor"),
    ],
)
def test_under_kserve_its_own_deployments_are_watched(
    tmp_path: Path, scenario: str, name: str, other: str
) -> None:
    release = Release()
    deployment = f"bert-qa{name}"
    down = Alert("BertQATrackDown", f"No pod of {deployment} is ready.", {"deployment": deployment})
    restarts = Alert(
        "BertQAContainerRestarts",
        f"The container kserve-container of {deployment}-65f8bc9f8d-x7k2p was restarted 5 times "
        "within an hour.",
        {"pod": f"{deployment}-65f8bc9f8d-x7k2p", "container": "kserve-container"},
    )

    def ended(name: str) -> Manifest:
        labels = {"pod": f"{name}-65f8bc9f8d-x7k2p", "container": "kserve-container"}
        return release.kube("kube_pod_container_status_restarts_total", "0x20 1+1x4 5x40", **labels)

    missed = [each for made in (name, other) for each in deployed(made, ready=0)(release, True)]
    asleep = deployed(name, ready=0, wanted=0)(release, True)
    check(
        tmp_path,
        [
            Case(down.name, [each for each in missed if other not in each["series"]], [down]),
            Case(down.name, [each for each in missed if other in each["series"]]),
            Case(down.name, asleep),
            Case(restarts.name, [ended(name), ended(other)], [restarts]),
        ],
        scenario,
    )


def test_every_alert_is_evaluated() -> None:
    budget = {"BertQABudgetBurnsFast", "BertQABudgetBurnsSlowly"}  # In test_objectives.py.
    assert {*CASES, *budget} == set(alerts())
