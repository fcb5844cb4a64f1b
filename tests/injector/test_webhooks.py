"""The webhooks' configuration, and the one that is shipped."""

from __future__ import annotations

from pathlib import Path

import yaml

from controlplane.injector.settings import InjectorConfig
from controlplane.injector.values import Values
from controlplane.injector.webhooks import Injector, webhook_configuration

SHIPPED = Path(__file__).parents[2] / "deploy" / "base" / "injector.yaml"


def test_the_shipped_configuration_is_the_default_one() -> None:
    shipped, settings = yaml.safe_load_all(SHIPPED.read_text())
    assert shipped == webhook_configuration(Injector())
    config = InjectorConfig.parse(settings["data"]["config"])
    assert (config.policy, config.default_templates) == ("enabled", ("sidecar",))
    assert Values.parse(settings["data"]["values"]).text("global.proxy.image") == "proxyv2"


def test_names_of_revisions_and_tags() -> None:
    made = [
        webhook_configuration(each)
        for each in (Injector("canary"), Injector("canary", namespace="mesh"), Injector("canary", "prod"))
    ]
    assert [each["metadata"]["name"] for each in made] == [
        "istio-sidecar-injector-canary",
        "istio-sidecar-injector-canary-mesh",
        "istio-revision-tag-prod",
    ]
    assert {each["metadata"]["labels"]["istio.io/rev"] for each in made} == {"canary"}
    assert {each["clientConfig"]["service"]["name"] for one in made for each in one["webhooks"]} == {"istiod-canary"}
