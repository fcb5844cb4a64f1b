"""What a service account may do, and what it did: from its roles, and from the audit log of the API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api_server import ApiServer

_OK, _FORBIDDEN = 200, 403


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource (``pods/status`` for a part of it).

    ``namespace`` is empty for all namespaces and for resources without; ``name`` is empty for all objects.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def covers(self, other: Right) -> bool:
        """Whether who has this right may do the other."""
        same = (self.verb, self.group, self.resource) == (other.verb, other.group, other.resource)
        return same and self.namespace in ("", other.namespace) and self.name in ("", other.name)


def audit_options(folder: Path) -> tuple[str, ...]:
    """Write an audit policy; return the flags of an API server that logs each request of a service account."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
    }
    (folder / "audit-policy.json").write_text(json.dumps(policy))
    return (f"--audit-policy-file={folder}/audit-policy.json", f"--audit-log-path={_log(folder)}")


def granted(cluster: ApiServer, namespace: str, account: str) -> set[Right]:
    """Return what the bindings of an account grant it, one right for each verb, resource and name."""
    rights: set[Right] = set()
    for kind in ("clusterrolebindings", "rolebindings"):
        bindings = json.loads(cluster.kubectl("get", kind, "--all-namespaces", "-o", "json"))["items"]
        for binding in bindings:
            subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
            if subject not in binding.get("subjects", []):
                continue
            where, role = binding["metadata"].get("namespace", ""), binding["roleRef"]
            scope = ("-n", where) if role["kind"] == "Role" else ()
            answer = cluster.kubectl("get", role["kind"].lower(), role["name"], *scope, "-o", "json")
            rights.update(right for rule in json.loads(answer)["rules"] for right in _expanded(rule, where))
    return rights


def used(cluster: ApiServer, namespace: str, account: str) -> set[Right]:
    """Return what an account asked for and was allowed to have."""
    return {right for right, code in _requests(cluster, namespace, account) if code != _FORBIDDEN}


def refused(cluster: ApiServer, namespace: str, account: str) -> set[Right]:
    """Return what an account asked for and had no right to."""
    return {right for right, code in _requests(cluster, namespace, account) if code == _FORBIDDEN}


def unused(cluster: ApiServer, namespace: str, account: str) -> set[Right]:
    """Return what an account is granted and never asked for."""
    asked = used(cluster, namespace, account)
    return {right for right in granted(cluster, namespace, account) if not any(map(right.covers, asked))}


def _expanded(rule: dict[str, Any], namespace: str) -> Iterator[Right]:
    for verb in rule["verbs"]:
        for group in rule.get("apiGroups", [""]):
            for resource in rule.get("resources", []):
                for name in rule.get("resourceNames", [""]):
                    yield Right(verb, group, resource, namespace, name)


def writers(cluster: ApiServer, resource: str) -> list[str]:
    """Return by which token (its id, ``jti``) each patch of a resource was made that was stored, in their order."""
    return [
        event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].removeprefix("JTI=")
        for event in _events(cluster)
        if (event["verb"], event["responseStatus"]["code"]) == ("patch", _OK) and _resource(event) == resource
    ]


def _requests(cluster: ApiServer, namespace: str, account: str) -> Iterator[tuple[Right, int]]:
    """Yield each request of an account."""
    user = f"system:serviceaccount:{namespace}:{account}"
    for event in _events(cluster):
        target = event["objectRef"]
        if event["user"]["username"] != user:
            continue
        right = Right(
            event["verb"],
            target.get("apiGroup", ""),
            _resource(event),
            target.get("namespace", ""),
            target.get("name", ""),
        )
        yield right, event["responseStatus"]["code"]


def _events(cluster: ApiServer) -> Iterator[dict[str, Any]]:
    """Yield what the audit log says of each request to an API, not those to paths such as /version."""
    log = _log(cluster.folder)
    events = map(json.loads, log.read_text().splitlines() if log.exists() else ())
    return (event for event in events if event.get("objectRef") is not None)


def _resource(event: dict[str, Any]) -> str:
    target = event["objectRef"]
    return "/".join(filter(None, (target["resource"], target.get("subresource"))))


def _log(folder: Path) -> Path:
    return folder / "audit.log"
