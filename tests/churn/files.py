"""The objects of the churn, a file for each: written, changed, dropped, spoiled and mended."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

from tests.compiler.histories import MAKERS, NAMES, NAMESPACES

SPOILS = (
    "{",
    "\t",
    "\x00",
    "[" * 2000,
    "- a list\n",
    "apiVersion: v1\nkind: Service\n",
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: 7}\n",
    "&a [*a]",
)
"""What a file may hold by mistake. A spoiled object, see ``spoil``, keeps its name."""


class Files:
    """A directory of objects. ``held`` is file name -> object, as it was when it was last good."""

    def __init__(self, folder: Path) -> None:
        """Begin with what makers make next in an empty folder."""
        self.folder = folder
        self.held: dict[str, dict[str, Any]] = {}
        self.spoiled: set[str] = set()

    def change(self, rng: random.Random) -> None:
        """Write an object: a new one, or another in its place."""
        obj = rng.choice(MAKERS)(rng, rng.choice(NAMESPACES), rng.choice(NAMES))
        meta = obj["metadata"]
        name = f"{obj['kind']}.{meta.get('namespace', '')}.{meta['name']}.yaml"
        self.held[name] = obj
        self.spoiled.discard(name)
        self._write(name, yaml.safe_dump(obj))

    def drop(self, rng: random.Random) -> None:
        """Remove an object, if there is one."""
        if self.held:
            name = rng.choice(sorted(self.held))
            del self.held[name]
            self.spoiled.discard(name)
            (self.folder / name).unlink()

    def drop_all(self) -> None:
        """Remove all objects."""
        for name in self.held:
            (self.folder / name).unlink()
        self.held.clear()
        self.spoiled.clear()

    def spoil(self, rng: random.Random) -> None:
        """Write an object so that it is refused; its last good version stays in force."""
        if self.held:
            name = rng.choice(sorted(self.held))
            self.spoiled.add(name)
            self._write(name, rng.choice([*SPOILS, _wrong(self.held[name])]))

    def mend(self, rng: random.Random) -> None:
        """Write a spoiled object as it was, or drop it."""
        if self.spoiled:
            self._mend(rng.choice(sorted(self.spoiled)))

    def mend_all(self) -> None:
        """Leave nothing spoiled."""
        for name in sorted(self.spoiled):
            self._mend(name)

    def _mend(self, name: str) -> None:
        self.spoiled.discard(name)
        self._write(name, yaml.safe_dump(self.held[name]))

    def _write(self, name: str, text: str) -> None:
        """Put a file in place in one moment."""
        hidden = self.folder / f".{name}"
        hidden.write_text(text, encoding="utf-8")
        hidden.rename(self.folder / name)


def _wrong(obj: dict[str, Any]) -> str:
    """Return an object with a field of a wrong type, and one that nobody knows."""
    return yaml.safe_dump({**obj, "spec": {"unknown": [1]}, "data": 7})
