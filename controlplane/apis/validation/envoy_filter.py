"""Rules of EnvoyFilter. Whether a patch is a valid message of Envoy is seen by ``patches``, which knows those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.envoy_filter import ApplyTo, PatchOperation
from controlplane.apis.validation.regex import MAX_REGEX, regex_problem
from controlplane.apis.validation.report import Findings, Report, Subject

if TYPE_CHECKING:
    from controlplane.apis.envoy_filter import EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter

_LISTENER = {
    ApplyTo.LISTENER,
    ApplyTo.FILTER_CHAIN,
    ApplyTo.NETWORK_FILTER,
    ApplyTo.HTTP_FILTER,
    ApplyTo.LISTENER_FILTER,
}
_HTTP_CONNECTION_MANAGER = ("envoy.filters.network.http_connection_manager", "envoy.http_connection_manager")
_ROUTE = {ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE}


def problems(spec: EnvoyFilter, _subject: Subject) -> Findings:
    """Check an EnvoyFilter."""
    report = Report()
    report.warn("spec", "EnvoyFilter changes what the control plane makes, which may be different in the next version")
    for index, each in enumerate(spec.config_patches):
        _check_patch(report, f"spec.configPatches[{index}]", each)
    return report.findings


def _check_patch(report: Report, path: str, each: EnvoyConfigObjectPatch) -> None:
    if each.apply_to is ApplyTo.INVALID:
        report.error(f"{path}.applyTo", "is required")
    patch = each.patch
    if patch is None:
        report.error(f"{path}.patch", "is required")
    elif patch.operation is PatchOperation.INVALID:
        report.error(f"{path}.patch.operation", "is required")
    elif patch.operation is not PatchOperation.REMOVE and patch.value is None:
        report.error(f"{path}.patch.value", f"is required with {patch.operation}")
    if each.match is not None:
        _check_match(report, f"{path}.match", each.apply_to, each.match)


def _check_match(report: Report, path: str, apply_to: ApplyTo, match: EnvoyConfigObjectMatch) -> None:
    if match.proxy is not None and match.proxy.proxy_version:
        where = f"{path}.proxy.proxyVersion"
        if len(match.proxy.proxy_version) > MAX_REGEX:
            report.warn(where, f"has more than {MAX_REGEX} characters")
        elif problem := regex_problem(match.proxy.proxy_version):
            report.error(where, problem)
    given = [name for name in ("listener", "route_configuration", "cluster") if getattr(match, name) is not None]
    wanted = {
        "listener": apply_to in _LISTENER,
        "route_configuration": apply_to in _ROUTE,
        "cluster": apply_to is ApplyTo.CLUSTER,
    }
    if any(wanted.values()):
        for name in given:
            if not wanted[name]:
                alias = type(match).model_fields[name].alias
                report.error(f"{path}.{alias}", f"does not suit applyTo {apply_to}")
    chain = match.listener.filter_chain if match.listener is not None else None
    named = chain.filter if chain is not None else None
    if named is not None and not named.name:
        report.error(f"{path}.listener.filterChain.filter.name", "is required")
    if named is not None and named.sub_filter is not None:
        where = f"{path}.listener.filterChain.filter"
        if not named.sub_filter.name:
            report.error(f"{where}.subFilter.name", "is required")
        if apply_to is not ApplyTo.HTTP_FILTER:
            report.error(f"{where}.subFilter", "is for applyTo HTTP_FILTER only")
        if named.name and named.name not in _HTTP_CONNECTION_MANAGER:
            report.error(f"{where}.name", f"only {_HTTP_CONNECTION_MANAGER[0]} has filters in it (subFilter)")
