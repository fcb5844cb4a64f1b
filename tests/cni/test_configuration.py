"""The plugin's entry in what container runtimes read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from controlplane.cni.configuration import Configuration, ConfigurationError

ENTRY = {"cniVersion": "0.3.1", "name": "istio-cni", "type": "istio-cni", "pod_namespace": "istio-system"}
BRIDGE, MAPPING = {"type": "bridge"}, {"type": "portmap"}
CHAINED = {"type": "istio-cni", "pod_namespace": "istio-system"}
LIST = {"cniVersion": "1.0.0", "name": "pods", "plugins": [BRIDGE, MAPPING]}


def write(folder: Path, name: str, value: object) -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_comes_last_in_the_first_file_and_is_put_back_when_it_is_gone(tmp_path: Path) -> None:
    first, other = write(tmp_path, "10-pods.conflist", LIST), write(tmp_path, "20-other.conflist", LIST)
    first.chmod(0o600)
    configuration = Configuration(tmp_path, ENTRY)
    assert configuration.put()
    assert read(first) == {**LIST, "plugins": [BRIDGE, MAPPING, CHAINED]}
    assert first.stat().st_mode & 0o777 == 0o600
    assert not configuration.put(), "nothing differs"
    write(tmp_path, "10-pods.conflist", {**LIST, "plugins": [BRIDGE]})  # as the network's own agent writes it anew
    assert configuration.put()
    assert read(first) == {**LIST, "plugins": [BRIDGE, CHAINED]}
    assert read(other) == LIST
    configuration.remove()
    assert read(first) == {**LIST, "plugins": [BRIDGE]}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["10-pods.conflist", "20-other.conflist"]


def test_an_entry_of_another_version_is_replaced(tmp_path: Path) -> None:
    path = write(
        tmp_path, "10.conflist", {**LIST, "plugins": [BRIDGE, {"type": "istio-cni", "log_level": "old"}, MAPPING]}
    )
    assert Configuration(tmp_path, ENTRY).put()
    assert read(path) == {**LIST, "plugins": [BRIDGE, MAPPING, CHAINED]}


def test_one_plugin_becomes_a_list_of_two(tmp_path: Path) -> None:
    write(tmp_path, "10-pods.conf", {"cniVersion": "0.4.0", "name": "pods", "type": "bridge", "mtu": 1400})
    configuration = Configuration(tmp_path, ENTRY, "10-pods.conf")
    assert configuration.put()
    assert [each.name for each in tmp_path.iterdir()] == ["10-pods.conflist"]
    bridge = {"cniVersion": "0.4.0", "name": "pods", "type": "bridge", "mtu": 1400}
    assert read(tmp_path / "10-pods.conflist") == {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, CHAINED]}
    assert not configuration.put(), "the file that is named has another ending now"


def test_not_chained_it_has_a_file_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "10-pods.conflist", LIST)
    configuration = Configuration(tmp_path, ENTRY, chained=False)
    assert configuration.put()
    assert read(tmp_path / "istio-cni.conf") == ENTRY
    configuration.remove()
    assert [each.name for each in tmp_path.iterdir()] == ["10-pods.conflist"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("10.conflist", "{", "10.conflist: "),
        ("10.conflist", "[]", "10.conflist: is no configuration of a network"),
        ("10.conflist", '{"plugins": {}}', "10.conflist: is no configuration of a network"),
        ("10.conflist", '{"plugins": []}', "10.conflist: has no plugin that gives pods a network"),
        ("README", "", "holds no configuration of a network yet"),
    ],
)
def test_what_it_cannot_be_chained_to_is_named_and_left_alone(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    path = write(tmp_path, name, text)
    configuration = Configuration(tmp_path, ENTRY)
    with pytest.raises(ConfigurationError, match=problem):
        configuration.put()
    configuration.remove()
    assert path.read_text() == text


@pytest.mark.parametrize(
    "there",
    [("10-pods.conflist", LIST), ("10-pods.conf", {"cniVersion": "1.0.0", "name": "pods", "type": "bridge"})],
    ids=["list", "one"],
)
def test_in_a_file_of_its_own_it_repeats_what_the_first_one_says(tmp_path: Path, there: tuple[str, Any]) -> None:
    """The network's agent finds its file as it wrote it; what it changes there is followed."""
    first = write(tmp_path, *there)
    configuration = Configuration(tmp_path, ENTRY, owned="02-istio-cni.conflist")
    assert configuration.put()
    owned = read(tmp_path / "02-istio-cni.conflist")
    others = there[1].get("plugins", [there[1]])
    assert owned == {"cniVersion": "1.0.0", "name": "pods", "plugins": [*others, CHAINED]}
    assert read(first) == there[1]
    assert not configuration.put(), "its own file is not the one that it repeats"
    write(tmp_path, there[0], {**LIST, "disableCheck": True, "plugins": [BRIDGE]})
    assert configuration.put()
    assert read(tmp_path / "02-istio-cni.conflist") == {**LIST, "disableCheck": True, "plugins": [BRIDGE, CHAINED]}
    configuration.remove()
    assert [each.name for each in tmp_path.iterdir()] == [there[0]]


def test_what_else_is_in_the_folder(tmp_path: Path) -> None:
    """Folders, pipes and dangling links are passed over, as by the runtime; none of them is waited for."""
    (tmp_path / "00.conflist").mkdir()
    os.mkfifo(tmp_path / "01.conf")
    (tmp_path / "02.json").symlink_to("nowhere")
    path = write(tmp_path, "10.conflist", LIST)
    configuration = Configuration(tmp_path, ENTRY)
    assert configuration.put()
    assert read(path) == {**LIST, "plugins": [BRIDGE, MAPPING, CHAINED]}
    configuration.remove()
    assert read(path) == LIST


def test_one_that_is_named_and_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "00.conflist").mkdir()
    os.mkfifo(tmp_path / "01.conf")
    for name in ("00.conflist", "01.conf"):
        with pytest.raises(ConfigurationError, match=f"{name}: is no file"):
            Configuration(tmp_path, ENTRY, name).put()


def test_what_is_no_text_is_written_anew(tmp_path: Path) -> None:
    """A file of its own may have been written by somebody else; the first one is left alone where it is no text."""
    (tmp_path / "istio-cni.conf").write_bytes(b"\xff\xfe")
    assert Configuration(tmp_path, ENTRY, chained=False).put()
    assert read(tmp_path / "istio-cni.conf") == ENTRY
    write(tmp_path, "10.conflist", LIST)
    (tmp_path / "02.conflist").write_bytes(b"\x7fELF\xff")
    assert Configuration(tmp_path, ENTRY, "10.conflist", owned="02.conflist").put()
    (tmp_path / "10.conflist").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"10\.conflist: "):
        Configuration(tmp_path, ENTRY, "10.conflist").put()


def test_a_file_of_its_own_that_would_not_be_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "01-pods.conflist", LIST)
    with pytest.raises(ConfigurationError, match=r"02-istio-cni\.conflist: does not come before 01-pods\.conflist"):
        Configuration(tmp_path, ENTRY, owned="02-istio-cni.conflist").put()
    assert [each.name for each in tmp_path.iterdir()] == ["01-pods.conflist"]


def test_a_file_that_is_named_and_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"10-calico\.conflist: is not there yet"):
        Configuration(tmp_path, ENTRY, "10-calico.conflist").put()
