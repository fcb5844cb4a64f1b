"""What hands type that know istioctl and kubectl: commands that are elsewhere, and names of proxies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer

_FORWARD = "kubectl port-forward leads there"
_POD_OR_SERVICE = "give `describe pod NAME` or `describe service NAME`"
_OF_OBJECT = "`controlplane explain KIND/NAMESPACE/NAME` tells what an object makes"
_OF_ENVOY = "Envoy alone has it: `kubectl port-forward POD 15000`, and then curl"
ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "controlplane": {
        "authz": "`controlplane describe pod NAME` tells who may call a pod",
        "config": "each command takes --context, --kubeconfig and -n",
        "create-remote-secret": "one cluster is read; docs/moving-from-istiod.md says what of several has no effect",
        "env": "docs/reference/settings.md has the variables",
        "get": "kubectl shows objects; `controlplane explain KIND/NAMESPACE/NAME` tells what one of them makes",
        "apply": "kubectl applies objects; `controlplane plan -f FILE` tells before what that would do",
        "delete": "kubectl deletes objects; `controlplane plan --delete` tells before what that would do",
        "logs": "kubectl shows logs; `controlplane admin log` sets what the control plane logs",
        "metrics": "the control plane has /metrics on its monitoring port; docs/monitoring.md has a dashboard",
        "multicluster": "one cluster is read; docs/moving-from-istiod.md says what of several has no effect",
        "operator": "there is no operator: `controlplane install` takes the same IstioOperator",
        "profile": "`controlplane manifest generate --set profile=NAME` prints what a profile consists of",
        "proxy-status-all": "`controlplane status` shows all proxies",
        "remote-clusters": "one cluster is read: `controlplane status` tells when it does not answer",
        "remove-from-mesh": "docs/injection.md has the labels that keep a pod out",
        "add-to-mesh": "`controlplane kube-inject` adds sidecars to manifests",
        "revision": "`controlplane tag list` shows revisions and tags",
        "waypoint": "there is no ambient mode here: sidecars and gateways only",
        "ztunnel-config": "there is no ambient mode here: sidecars and gateways only",
    },
    "proxy-config": {
        "bootstrap": f"{_OF_ENVOY} http://localhost:15000/config_dump",
        "ecds": "`controlplane proxy-config all PROXY -o json` has extensions too",
        "log": f"{_OF_ENVOY} -X POST 'http://localhost:15000/logging?level=debug'",
        "rootca-compare": f"{_OF_ENVOY} http://localhost:15000/certs, for each of the pods",
        "secret": f"{_OF_ENVOY} http://localhost:15000/certs",
    },
    "describe": {
        "deployment": _POD_OR_SERVICE,
        "virtualservice": _OF_OBJECT,
        "destinationrule": _OF_OBJECT,
        "gateway": _OF_OBJECT,
    },
    "dashboard": {
        "controlz": "`controlplane admin log` shows and sets what is logged",
        "envoy": "`kubectl port-forward POD 15000` leads to Envoy's own page",
        **dict.fromkeys(("grafana", "jaeger", "kiali", "prometheus", "skywalking", "zipkin"), _FORWARD),
    },
}
"""Command -> the word below it that is a command of istioctl's or kubectl's -> where that is."""
_OTHERS = {"secrets": "secret", "s": "secret", "b": "bootstrap", "lg": "log", "p": "profile"}
_PODS = frozenset({"pod", "pods", "po"})


def elsewhere(command: str, word: str) -> str:
    """Return a sentence on a word that is no command here and one elsewhere, empty where it is none there either."""
    known = ELSEWHERE.get(command, {})
    if command == "describe" and ("." in word or "/" in word):
        return f"{_POD_OR_SERVICE}: '{word}' is neither word"
    found = known.get(word) or (known.get(_OTHERS.get(word, "")) if command == "proxy-config" else None)
    return f"'{word}' is no command here: {found}" if found else ""


def proxy_named(proxy: str, namespace: str) -> str:
    """Return a proxy as ``NAME.NAMESPACE`` from what is given: ``pod/NAME`` and a namespace beside it, too.

    Raises:
        typer.BadParameter: it is no name of a proxy, or of another namespace.
    """
    kind, slash, name = proxy.rpartition("/")
    if slash and kind not in _PODS:
        raise typer.BadParameter(
            f"{proxy!r} is no proxy: name a pod, as NAME.NAMESPACE; `controlplane status` lists all that are connected"
        )
    if not namespace or not name:
        return name
    if "." not in name:
        return f"{name}.{namespace}"
    if name.rpartition(".")[2] != namespace:
        raise typer.BadParameter(f"{name} is in namespace {name.rpartition('.')[2]}, and -n says {namespace}")
    return name


def object_meant(words: Sequence[str], namespace: str) -> str | None:
    """Return an object as ``KIND/NAMESPACE/NAME`` or ``KIND/NAME``, from what kubectl takes; ``None`` for a request.

    Raises:
        typer.BadParameter: its namespace is given twice.
    """
    from controlplane.simulate.asked import METHODS

    if any("://" in word for word in words) or len(words) > 2:  # noqa: PLR2004 - kind and name
        return None
    if len(words) == 1 and "/" not in words[0]:
        return None
    if len(words) > 1 and (words[0].upper() in METHODS or ":" in words[1]):
        return None
    kind, *rest = "/".join(words).split("/")
    if not namespace:
        return "/".join((kind, *rest))
    if len(rest) == 1 and "." not in rest[0]:
        return "/".join((kind, namespace, *rest))
    stated = rest[0] if len(rest) > 1 else rest[0].partition(".")[2]
    if stated != namespace:
        raise typer.BadParameter(f"{'/'.join(words)} is in namespace {stated}, and -n says {namespace}")
    return "/".join((kind, *rest))


def proxy_meant(origin: str, namespace: str) -> str:
    """Return whose request it is, as ``pod/NAMESPACE/NAME``, from ``NAME.NAMESPACE``, or a name and a namespace."""
    kind, slash, name = origin.rpartition("/")
    if "/" in kind or not name:
        return origin
    kind = kind if slash else "pod"
    if kind == "namespace":
        return origin
    if "." in name and not slash:
        name, _, own = name.rpartition(".")
        return f"{kind}/{own}/{name}"
    return f"{kind}/{namespace}/{name}" if namespace else origin


def method_meant(word: str) -> str:
    """Return a method, the usual ones in whatever letters they come.

    Any word is a method to HTTP, so one that is not usual is taken for what it says only where it is written as methods
    are, and is like none that is usual.

    Raises:
        typer.BadParameter: it is not, or looks like a URL.
    """
    from controlplane.documents.nearest import nearest_text
    from controlplane.simulate.asked import METHODS

    if word.upper() in METHODS:
        return word.upper()
    near = nearest_text(word, METHODS)
    if near or not word.isupper() or not word.replace("-", "").replace("_", "").isalnum():
        hint = near or "; a method of your own is written in capital letters"
        raise typer.BadParameter(f"{word!r} is no method of HTTP's{hint}")
    return word
