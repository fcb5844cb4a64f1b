"""``bug-report``: what is in the archive, and what is not."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

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
