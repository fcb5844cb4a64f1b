"""``k8s`` of a component, and its overlays."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.install.errors import RefusedInputError
from controlplane.install.operator import intent
from controlplane.install.plan import plan


def made(**settings: Any) -> dict[str, dict[str, Any]]:
    """Return the objects of a control plane with these settings, by their kinds."""
    spec = {"profile": "minimal", "components": {"pilot": {"k8s": settings}}}
    (_, pilot) = plan(intent([("mesh.yaml", yaml.safe_dump({"kind": "IstioOperator", "spec": spec}))], []))
    return {each["kind"]: each for each in pilot.objects}


def test_settings_change_the_workload() -> None:
    variable = {"name": "CLUSTER_ID", "value": "other"}
    spec = made(
        resources={"requests": {"cpu": "2"}},
        env=[variable, {"name": "NEW", "value": "1"}],
        nodeSelector={"a": "b"},
        tolerations=[{"operator": "Exists"}],
        priorityClassName="high",
        podAnnotations={"c": "d"},
        strategy={"type": "Recreate"},
        volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "more", "emptyDir": {}}],
        volumeMounts=[{"name": "more", "mountPath": "/more"}],
        imagePullPolicy="Always",
    )["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
    assert [each for each in container["env"] if each["name"] == "CLUSTER_ID"] == [variable]
    assert container["env"][-1] == {"name": "NEW", "value": "1"}
    assert (pod["nodeSelector"], pod["tolerations"], pod["priorityClassName"]) == (
        {"a": "b"},
        [{"operator": "Exists"}],
        "high",
    )
    assert spec["template"]["metadata"]["annotations"].items() >= {"c": "d", "prometheus.io/port": "15014"}.items()
    assert spec["strategy"] == {"type": "Recreate"}
    ours = ["cacerts", "istio-csr-dns-cert", "istio-csr-ca-configmap"]
    assert [each["name"] for each in pod["volumes"]] == [*ours, "tmp", "more"]
    assert pod["volumes"][3] == {"name": "tmp", "emptyDir": {}}
    assert [each["name"] for each in container["volumeMounts"]] == [*ours, "tmp", "more"]
    assert container["imagePullPolicy"] == "Always"


def test_settings_change_service_scaler_and_budget() -> None:
    objects = made(
        service={"type": "LoadBalancer"},
        serviceAnnotations={"a": "b"},
        hpaSpec={"minReplicas": 4, "maxReplicas": 8},
        podDisruptionBudget={"minAvailable": 2},
    )
    assert objects["Service"]["spec"]["type"] == "LoadBalancer"
    assert objects["Service"]["metadata"]["annotations"] == {"a": "b"}
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 4
    assert objects["PodDisruptionBudget"]["spec"]["minAvailable"] == 2


def test_a_stated_count_ends_the_autoscaler() -> None:
    objects = made(replicaCount=3)
    assert "HorizontalPodAutoscaler" not in objects
    assert objects["Deployment"]["spec"]["replicas"] == 3


def test_overlays_change_anything() -> None:
    container = "spec.template.spec.containers.[name:discovery]"
    objects = made(
        overlays=[
            {
                "kind": "Deployment",
                "name": "istiod",
                "patches": [
                    {"path": f"{container}.args[-1]", "value": "--log-level=debug"},
                    {"path": f"{container}.env.[name:CLUSTER_ID].value", "value": "other"},
                    {"path": "spec.template.spec.topologySpreadConstraints"},
                ],
            },
            {"kind": "Service", "patches": [{"path": "spec.clusterIP", "value": "None"}]},
        ]
    )
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["serve", "--log-level=debug"]
    assert {"name": "CLUSTER_ID", "value": "other"} in pod["containers"][0]["env"]
    assert "topologySpreadConstraints" not in pod
    assert objects["Service"]["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(
    ("overlay", "problem"),
    [
        ({"name": "istiod"}, r"components.pilot.k8s.overlays\[0\].kind: is required"),
        ({"kind": "Deployment", "name": "pilot"}, "has no Deployment pilot; of this kind it has istiod"),
        ({"kind": "Deployment", "patches": [{"value": 1}]}, r"overlays\[0\].patches\[0\].path: is required"),
        ({"kind": "Deployment", "patches": [{"path": "spec[0]", "value": 1}]}, r"patches\[0\]: spec\[0\]: .* no list"),
    ],
)
def test_an_overlay_that_fits_nothing_is_refused(overlay: dict[str, Any], problem: str) -> None:
    with pytest.raises(RefusedInputError, match=problem):
        made(overlays=[overlay])
