"""``bug-report``: what is in the archive, and what is not."""

from __future__ import annotations

import base64
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.bug_report.command import _write
from controlplane.cli.bug_report.redaction import redacted_body, redacted_text, redacted_value
from tests.admin import world
from tests.api.test_api import PARTS
from tests.cli.command import run

KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"


def held(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        read = {each.name: archive.extractfile(each) for each in archive.getmembers()}
        assert {each.mode for each in archive.getmembers()} == {0o600}
        return {name.partition("/")[2]: content.read() for name, content in read.items() if content is not None}


async def test_the_archive_has_each_page_and_says_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    async with world.serving(world.sources(), parts=PARTS) as address:
        result = await run("bug-report", "-o", str(file), "web-1.shop", "nobody.shop", "--address", address)
        again = await run("bug-report", "-o", str(file), "--address", address)
    assert result.code == 0, result.err
    assert file.stat().st_mode & 0o777 == 0o600
    found = held(file)
    folder = f"the-control-plane-at-{address.replace(':', '-')}"
    for page in ("version", "metrics", "ready", "debug/syncz", "debug/taskz", "debug/configz", "api/v1/findings"):
        assert f"{folder}/{page}" in found, sorted(found)
    assert json.loads(found[f"{folder}/debug/syncz"])[0]["proxy"]
    assert json.loads(found[f"{folder}/proxies/web-1.shop"])["configs"]
    missing = found["missing.txt"].decode()
    assert f"{folder}/proxies/nobody.shop: " in missing
    assert (
        result.out
        == f"{file}: {len(found) - 1} files; {len(missing.splitlines())} could not be had, missing.txt says why\n"
    )
    assert again.code == 1
    assert "is there already" in again.err


async def test_nobody_who_answers_is_no_report(tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    result = await run("bug-report", "-o", str(file), "--address", "127.0.0.1:1")
    assert result.code == 1
    assert "The control plane at 127.0.0.1:1 cannot be reached" in result.err
    assert not file.exists()
    nowhere = await run("bug-report", "-o", str(file), "--kubeconfig", str(tmp_path / "none"))
    assert nowhere.code == 1
    assert nowhere.err.count(str(tmp_path / "none")) == 1, "it is said once"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY} end", "key [redacted] end"),
        (f"token {TOKEN}", "token [redacted]"),
        ("redis://user:hunter2@cache.prod:6379/0", "redis://[redacted]@cache.prod:6379/0"),
        ("http://a/ and https://me:pw@b?x", "http://a/ and https://[redacted]@b?x"),
        ("mail me@example.com, see http://a/", "mail me@example.com, see http://a/"),
    ],
)
def test_what_looks_like_a_credential_is_not_in_it(text: str, shown: str) -> None:
    assert redacted_text(text) == shown
    assert redacted_body(text.encode()).decode() == shown
    assert json.loads(redacted_body(json.dumps({"a": [text]}).encode())) == {"a": [shown]}


def test_what_is_called_a_credential_is_not_in_it() -> None:
    value = {
        "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "LEVEL", "value": "info"}],
        "clientSecret": "x",
        "client_secret": "y",
        "credentialName": "web-cert",
        "secretName": "web",
        "tokens": ["a"],
    }
    assert redacted_value(value) == {
        "env": [{"name": "DB_PASSWORD", "value": "[redacted]"}, {"name": "LEVEL", "value": "info"}],
        "clientSecret": "[redacted]",
        "client_secret": "[redacted]",
        "credentialName": "web-cert",
        "secretName": "web",
        "tokens": ["a"],
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_PASSWORD = "hunter2"
_CONTAINER = {"env": [{"name": "DB_PASSWORD", "value": _PASSWORD}], "args": ["--token", _PASSWORD]}


@pytest.mark.parametrize(
    "value",
    [
        {"last-applied-configuration": json.dumps({"spec": {"containers": [_CONTAINER]}})},
        {"args": [f"--db-password={_PASSWORD}", "--api-token", _PASSWORD, f"run --password {_PASSWORD}"]},
        {"mesh": f"a: 1\nclientSecret: {_PASSWORD}\nx:\n  password: |\n    {_PASSWORD}\n    {_PASSWORD}\n"},
        {"mesh": f"env:\n- name: API_TOKEN\n  value: {_PASSWORD}\n"},
        {"mesh": f"password: two {_PASSWORD}\n"},
        [{"header": {"key": "authorization", "value": _PASSWORD}}, {"name": "cookie", "value": _PASSWORD}],
        {"headers": {"set": {"x-api-key": _PASSWORD}}, "match": {"authorization": {"exact": _PASSWORD}}},
        {"name": "x-token", "stringMatch": {"exact": _PASSWORD}},
        {"privateKey": {"inlineString": _PASSWORD}, "password": {"inline_bytes": _base64(_PASSWORD)}},
        {"lua": {"inlineBytes": _base64(f"local key = [[{KEY}]] -- {_PASSWORD}")}},
        {"config": {"inlineBytes": _base64(json.dumps({"clientSecret": _PASSWORD}))}},
        {"jwks": json.dumps({"keys": [{"kty": "oct", "k": _PASSWORD}, {"kty": "RSA", "n": "x", "d": _PASSWORD}]})},
        [{"name": each, "value": _PASSWORD} for each in ("AWS_SECRET_ACCESS_KEY", "DB_PASS", "basicAuth", "DSN")],
        {"url": f"postgres://user:a/{_PASSWORD}@host/db", "other": f"https://{_PASSWORD}@example.com/x"},
        {"kind": "Secret", "data": {"a": _base64(_PASSWORD)}, "stringData": {"b": _PASSWORD}},
        {".dockerconfigjson": json.dumps({"auths": {"r": {"auth": _base64(_PASSWORD)}}})},
        f"users:\n- user:\n    client-key-data: {_base64(KEY)}\n    token: {_PASSWORD}\n",
        f'{{"msg":"one","password":"{_PASSWORD}"}}\n{{"msg":"two","text":"{{\\"token\\":\\"{_PASSWORD}\\"}}"}}\n',
        f"DB_PASSWORD={_PASSWORD} GET /?access_token={_PASSWORD}&b=1",
        f"- private_key:\n    inline_string: {_PASSWORD}\n- header: {{key: x-api-key, value: {_PASSWORD}}}\n",
    ],
)
def test_no_form_of_writing_a_credential_is_overlooked(value: Any) -> None:
    """In JSON, in JSON and YAML within it, in base64, in lines of a log, and as a text of its own."""
    for body in (json.dumps(value), json.dumps({"a": value}), json.dumps({"a": value}) + "\nno JSON"):
        shown = redacted_body(body.encode()).decode()
        assert not [each for each in (_PASSWORD, _base64(_PASSWORD), _base64(KEY)) if each in shown], shown
    if isinstance(value, str):
        assert _PASSWORD not in redacted_body(value.encode()).decode()


def test_what_is_no_credential_is_told() -> None:
    value = [
        {"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {"path": "istio-token"}}]}},
        {"name": "bypass", "prefix": "/a", "tokenBucket": {"maxTokens": 5}},
        {"url": "http://a:80/x@b", "image": "r/name:tag@sha256:abcd", "msg": "Secret ns/web is not there"},
        {"inlineBytes": _base64("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----")},
    ]
    assert redacted_value(value) == value


def test_no_name_leads_out_of_the_archive(tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    _write(file, [("r/../../x", b"1", ""), ("/etc/x", b"2", ""), ("a\nb", None, "gone")], datetime.now(UTC))
    assert held(file) == {"r/__/__/x": b"1", "etc/x": b"2", "missing.txt": b"a\\nb: gone\n"}
