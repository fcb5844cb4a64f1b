"""Many patches of one message: what does harm is left out, and little else."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from controlplane.apis.envoy_filter import ApplyTo, EnvoyConfigObjectMatch, PatchOperation
from controlplane.constraints.checker import Fault, Faults
from controlplane.model import kinds
from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey
from controlplane.model.patches import PatchNote, PatchRef
from controlplane.patches.merge import merge
from controlplane.patches.patch import Draft, Patch, PatchError, Step
from controlplane.registry.store import Registry, View
from controlplane.translate.patched.net import patched
from controlplane.translate.patched.reading import Held

FILTER = ObjectKey(kinds.ENVOY_FILTER, "shop", "x")
PATCH = Patch(ApplyTo.VIRTUAL_HOST, PatchOperation.ADD, EnvoyConfigObjectMatch(), b"", RouteConfiguration())


class Trial:
    """What patches that each add a virtual host make, where those called ``bad`` do harm."""

    def __init__(self, *names: str) -> None:
        self.checks = self.runs = 0
        held = [Held(PatchRef(FILTER, n), PATCH) for n in range(len(names))]
        view = View(Registry())
        steps = [Step(n, partial(self._add, name)) for n, name in enumerate(names)]
        made: Any = patched(view, held, RouteConfiguration(), steps, self._check).message
        self.made = [host.name for host in made.virtual_hosts]
        self.left_out = [note.reason for note in view.notes if isinstance(note, LeftOut)]
        self.changing = [note.ref.position for note in view.notes if isinstance(note, PatchNote)]

    def _add(self, name: str, draft: Draft) -> bool:
        self.runs += 1
        if name == "unfit":
            reason = "it does not fit"
            raise PatchError(reason)
        message: Any = draft.message
        message.virtual_hosts.add(name=name)
        return True

    def _check(self, message: Message) -> Faults:
        self.checks += 1
        held: Any = message
        return [Fault("virtual_hosts[3]", "is bad")] if any(host.name == "bad" for host in held.virtual_hosts) else []


def test_those_that_do_harm_are_left_out_among_very_many() -> None:
    names = [f"h{n}" for n in range(1000)]
    names[100], names[500], names[501] = "bad", "bad", "bad"
    trial = Trial(*names)
    assert trial.made == [name for name in names if name != "bad"]
    assert trial.left_out == ["virtual_hosts[]: is bad"] * 3
    assert trial.changing == [n for n, name in enumerate(names) if name != "bad"]
    assert trial.checks < 80


def test_patches_that_do_not_fit_are_each_tried_once() -> None:
    trial = Trial(*["unfit"] * 500, "good", *["unfit"] * 500)
    assert (trial.made, trial.changing) == (["good"], [500])
    assert trial.left_out == ["it does not fit"] * 1000
    assert trial.runs == 1001


def test_the_search_for_harm_ends() -> None:
    trial = Trial(*["good", "bad"] * 1000)
    assert trial.checks <= 210
    assert trial.made == ["good"] * len(trial.made)
    assert len(trial.made) + len(trial.left_out) == 2000
    assert trial.left_out[0] == "virtual_hosts[]: is bad"
    assert "patches are left out for it, since too many others do harm" in trial.left_out[-1]


@pytest.mark.parametrize("replace_lists", [False, True])
@pytest.mark.parametrize(
    ("held", "value"),
    [
        ({}, {"name": "a"}),
        ({"name": "a"}, {"name": "a"}),
        ({"name": "a"}, {"name": "b"}),
        ({"name": "a"}, {}),
        ({"connect_timeout": "1s"}, {"connect_timeout": "1s"}),
        ({"connect_timeout": "1.5s"}, {"connect_timeout": "1s"}),
        ({}, {"connect_timeout": "0s"}),
        ({"load_assignment": {"cluster_name": "a"}}, {"load_assignment": {"cluster_name": "a"}}),
        ({"load_assignment": {"cluster_name": "a"}}, {"load_assignment": {"cluster_name": "b"}}),
        ({"load_assignment": {"cluster_name": "a"}}, {"load_assignment": {}}),
        ({"load_assignment": {"endpoints": [{}]}}, {"load_assignment": {"endpoints": [{}]}}),
        ({"load_assignment": {"endpoints": [{}]}}, {"load_assignment": {"endpoints": [{"priority": 1}]}}),
        ({"metadata": {"filter_metadata": {"a": {"b": 1}}}}, {"metadata": {"filter_metadata": {"a": {"b": 1}}}}),
        ({"metadata": {"filter_metadata": {"a": {"b": 1}}}}, {"metadata": {"filter_metadata": {"a": {"b": 2}}}}),
        ({"metadata": {"filter_metadata": {"a": {"b": 1}}}}, {"metadata": {"filter_metadata": {"c": {}}}}),
        ({"type": "EDS"}, {"cluster_type": {"name": "x"}}),
        ({"per_connection_buffer_limit_bytes": 0}, {"per_connection_buffer_limit_bytes": 0}),
    ],
)
def test_what_a_merge_changes_is_told(held: dict[str, Any], value: dict[str, Any], *, replace_lists: bool) -> None:
    target = ParseDict(held, Cluster())
    before = target.SerializeToString(deterministic=True)
    changes = merge(target, ParseDict(value, Cluster()), replace_lists=replace_lists)
    assert changes == (target.SerializeToString(deterministic=True) != before)
