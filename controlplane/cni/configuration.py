"""The runtime's configuration with the plugin in it: put in place, looked after, and taken out again.

A runtime reads the first file of a folder, by name. Chained, the plugin is the last of that file's plugins, so that it
runs when the pod has its network: there, or in an owned file, which comes before it by name and repeats what is in it.
Not chained, it has a file of its own, for who names it there (Multus).
Reference: ``cni/pkg/install`` of Istio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

NAME = "istio-cni"
ENDINGS = (".conf", ".conflist", ".json")
Json = dict[str, Any]


class ConfigurationError(Exception):
    """The plugin cannot be put in place; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where the plugin's ``entry`` goes: ``folder`` of the runtime, ``file`` in it, empty for the first one.

    ``owned`` is the name of the file that is written in place of that one; empty where there is none.
    """

    folder: Path
    entry: Mapping[str, Any]
    file: str = ""
    chained: bool = True
    owned: str = ""

    def put(self) -> bool:
        """Put the entry in place, where it is not already; return whether something was changed.

        Raises:
            ConfigurationError: there is no configuration yet to be chained to, or one that cannot be read.
        """
        if not self.chained:
            return self._write(self.folder / (self.file or f"{NAME}.conf"), dict(self.entry))
        path = self._first()
        before = _read(path)
        plugins = before.get("plugins", [before])
        others = [each for each in plugins if not _is_ours(each)]
        if not others:
            raise ConfigurationError(f"{path}: has no plugin that gives pods a network")
        entry = {key: value for key, value in self.entry.items() if key not in {"name", "cniVersion"}}
        listed = {key: before[key] for key in ("cniVersion", "name") if key in before} | {"plugins": [*others, entry]}
        if self.owned:
            if not self.owned < path.name:
                raise ConfigurationError(f"{self.folder / self.owned}: does not come before {path.name}, by name")
            return self._write(self.folder / self.owned, {**before, **listed} if "plugins" in before else listed)
        if "plugins" in before:
            return self._write(path, {**before, "plugins": [*others, entry]})
        changed = self._write(path.with_suffix(".conflist"), listed)
        path.unlink()
        return changed

    def remove(self) -> None:
        """Take the entry out again. What cannot be read is left as it is."""
        if not self.chained:
            (self.folder / (self.file or f"{NAME}.conf")).unlink(missing_ok=True)
            return
        if self.owned:
            (self.folder / self.owned).unlink(missing_ok=True)
            return
        for path in self._files():
            try:
                before = _read(path)
            except ConfigurationError:
                continue
            plugins = before.get("plugins") or []
            others = [each for each in plugins if not _is_ours(each)]
            if len(others) < len(plugins):
                self._write(path, {**before, "plugins": others})

    def _first(self) -> Path:
        if self.file:
            named = self.folder / self.file
            listed = named.with_suffix(".conflist")
            if not named.exists() and not listed.exists():
                raise ConfigurationError(f"{named}: is not there yet")
            return named if named.exists() else listed
        files = self._files()
        if not files:
            raise ConfigurationError(f"{self.folder}: holds no configuration of a network yet")
        return files[0]

    def _files(self) -> list[Path]:
        """Return what the runtime reads, the first one first; it passes over folders."""
        found = (each for each in self.folder.glob("*") if each.suffix in ENDINGS and each.name != self.owned)
        return sorted(each for each in found if each.is_file())

    def _write(self, path: Path, value: Json) -> bool:
        """Write a file at once, if it says something else; return whether it was."""
        text = json.dumps(value, indent=2) + "\n"
        if path.exists() and path.read_bytes() == text.encode():
            return False
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        partial.replace(path)
        return True


def _is_ours(plugin: object) -> bool:
    return isinstance(plugin, dict) and plugin.get("type") == NAME


def _read(path: Path) -> Json:
    try:
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path}: is no file")
        value = json_value(path.read_bytes())
    except (OSError, UnreadableError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("plugins", []), list):
        raise ConfigurationError(f"{path}: is no configuration of a network")
    return value
