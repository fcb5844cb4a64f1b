"""Fields by the names of protobuf's JSON, without protobuf: what protobuf makes of the same messages."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import Route

# Imported for their types: what an Any holds is looked up by name.
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2  # noqa: F401
from envoy.extensions.load_balancing_policies.round_robin.v3 import round_robin_pb2  # noqa: F401
from google.protobuf import json_format
from google.protobuf.message import Message
from xds.type.v3 import typed_struct_pb2  # noqa: F401

from controlplane.cli.proxy_config.names import shown

_TYPES = "type.googleapis.com"
USERS = {"a_b": {"c_d": ["e_f", {"g_h": 1.0}]}}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param(Cluster, {"metadata": {"filter_metadata": {"my_filter": USERS}}}, id="metadata"),
        pytest.param(
            Cluster,
            {"transport_socket_matches": [{"name": "tls", "match": USERS, "transport_socket": {"name": "a_b"}}]},
            id="transport-socket-match",
        ),
        pytest.param(
            Cluster,
            {"lb_subset_config": {"default_subset": USERS, "subset_selectors": [{"keys": ["a_b"]}]}},
            id="subset",
        ),
        pytest.param(
            Cluster,
            {
                "load_balancing_policy": {
                    "policies": [
                        {
                            "typed_extension_config": {
                                "name": "a_b",
                                "typed_config": {
                                    "@type": f"{_TYPES}/envoy.extensions.load_balancing_policies."
                                    "round_robin.v3.RoundRobin",
                                    "slow_start_config": {"slow_start_window": "1s"},
                                },
                            }
                        }
                    ]
                }
            },
            id="policies-that-are-a-list",
        ),
        pytest.param(
            Route,
            {
                "match": {"path_separated_prefix": "/a_b", "query_parameters": [{"name": "c", "present_match": True}]},
                "typed_per_filter_config": {
                    "my_rbac": {
                        "@type": f"{_TYPES}/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                        "rbac": {
                            "rules": {"policies": {"ns_a_policy": {"permissions": [{"destination_port": 80}]}}},
                        },
                    },
                    "my_struct": {
                        "@type": f"{_TYPES}/xds.type.v3.TypedStruct",
                        "type_url": "type.googleapis.com/my_type",
                        "value": USERS,
                    },
                },
            },
            id="per-filter",
        ),
        pytest.param(
            AccessLog,
            {
                "typed_config": {
                    "@type": f"{_TYPES}/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "log_format": {"json_format": {"start_time": "%START_TIME%", "deep_er": USERS}},
                }
            },
            id="log-format",
        ),
    ],
)
def test_as_protobuf_writes_it(kind: type[Message], message: dict[str, Any]) -> None:
    parsed = json_format.ParseDict(message, kind())
    in_a_dump = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    assert shown({"@type": "the whole's", **in_a_dump}) == json_format.MessageToDict(parsed)
    assert in_a_dump == message
