"""Whom the agent believes, by which file, and what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.agent.control_plane import authority, discovery
from controlplane.agent.environment import StartError
from controlplane.agent.options import options

GIVEN = "var/run/secrets/istio/root-cert.pem"
MOUNTED = "etc/certs/root-cert.pem"
SHOWN = "first/root-cert.pem"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def roots(*files: str, **variables: str) -> tuple[str, str]:
    """Return the files of roots for configuration and for certificates, where these files are."""
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    said = options(["sidecar"], {"POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7", **variables})
    return str(discovery(said).root), str(authority(said).root)


@pytest.mark.parametrize(
    ("provider", "configuration", "certificates"),
    [
        ("", MOUNTED, GIVEN),
        ("istiod", MOUNTED, GIVEN),
        ("custom", MOUNTED, MOUNTED),
        ("k8s.io/clusterissuers.test/mesh", MOUNTED, GIVEN),
        ("none", MOUNTED, MOUNTED),
    ],
)
def test_the_provider_says_which_file_of_roots_counts(provider: str, configuration: str, certificates: str) -> None:
    assert roots(GIVEN, MOUNTED, PILOT_CERT_PROVIDER=provider) == (configuration, certificates)


@pytest.mark.parametrize("provider", ["", "custom", "k8s.io/clusterissuers.test/mesh"])
def test_roots_that_the_mesh_gives_out_are_enough(provider: str) -> None:
    """A pod has no other file; those of ``custom`` have one for certificates, which is named."""
    named = {"CA_ROOT_CA": GIVEN} if provider == "custom" else {}
    assert roots(GIVEN, PILOT_CERT_PROVIDER=provider, **named) == (GIVEN, GIVEN)


def test_without_a_provider_nothing_is_believed_by_itself() -> None:
    with pytest.raises(StartError, match=r"no root certificate .* at etc/certs/root-cert.pem; name one with XDS_ROOT"):
        roots(GIVEN, PILOT_CERT_PROVIDER="none")


def test_the_roots_beside_a_certificate_that_is_shown_come_before_those_of_the_mesh() -> None:
    assert roots(GIVEN, SHOWN, PROV_CERT="first") == (SHOWN, SHOWN)


def test_a_token_comes_from_its_file_alone() -> None:
    with pytest.raises(StartError, match="CREDENTIAL_FETCHER_TYPE: 'GoogleComputeEngine' is not known"):
        roots(GIVEN, CREDENTIAL_FETCHER_TYPE="GoogleComputeEngine")
    assert roots(GIVEN, CREDENTIAL_FETCHER_TYPE="JWT") == (GIVEN, GIVEN)


def test_two_certificates_cannot_be_shown() -> None:
    with pytest.raises(StartError, match="only one of them can be set"):
        roots(GIVEN, PROV_CERT="first", FILE_MOUNTED_CERTS="true")
