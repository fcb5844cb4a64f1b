"""What Envoy is started with: the bootstrap file and the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.agent.binary import EnvoyNotFoundError, envoy_binary
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.document import document
from controlplane.agent.envoy_configuration.places import Places
from controlplane.agent.envoy_process import arguments
from controlplane.agent.node import node
from controlplane.agent.options import Options

_FOLDER_MODE = 0o700
_ISTIOS_TEMPLATE = "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
"""Where Istio's image has its own template, which is not read: the agent knows what is in it."""


@dataclass(frozen=True, slots=True)
class Written:
    """The bootstrap as a file, and the command that starts Envoy from it. ``own`` says that the agent wrote it."""

    path: Path
    command: Sequence[str]
    own: bool

    def remove(self) -> None:
        """Remove the file, if the agent wrote it."""
        if self.own:
            self.path.unlink(missing_ok=True)


def written_bootstrap(
    options: Options, places: Places, *, external_secrets: bool, credentials: bool = False
) -> Written:
    """Write the bootstrap, or take the user's own. The last two are as in ``node``.

    Raises:
        StartError: it cannot be written, a user's file cannot be read, or there is no Envoy.
    """
    template = _template(options)
    custom = options.config.text("customConfigFile") if not template else ""
    path = Path(custom) if custom else places.bootstrap
    if custom and not path.exists():
        raise StartError(f"ProxyConfig.customConfigFile: there is no {custom}")
    if not custom:
        found = document(options, places, node(options, external_secrets=external_secrets, credentials=credentials))
        if template:
            from controlplane.agent.bootstrap_template import filled  # noqa: PLC0415 - hardly any proxy needs it

            found = filled(template, options, places, found)
        text = json.dumps(found, indent=2)
        try:
            path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StartError(f"{path} cannot be written: {error.strerror}") from None
    override = _override(options, places)
    return Written(path, (str(_program(options)), *arguments(options, path, override)), own=not custom)


def _template(options: Options) -> str:
    """Return the file of the user's template, empty where there is none."""
    flag = options.flags.template_file if not options.config.text("customConfigFile") else ""
    said = options.environment.text("ISTIO_BOOTSTRAP") or flag or options.config.text("proxyBootstrapTemplatePath")
    return said if said != _ISTIOS_TEMPLATE else ""


def _override(options: Options, places: Places) -> str:
    """Return the second bootstrap, which Envoy merges over the first."""
    name = options.environment.text("ISTIO_BOOTSTRAP_OVERRIDE")
    if not name:
        return ""
    try:
        return places.expanded(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"ISTIO_BOOTSTRAP_OVERRIDE: {name} cannot be read: {error.strerror}") from None


def _program(options: Options) -> Path:
    """Return Envoy: where ``binaryPath`` says, if it is there, else one that is installed. Raises ``StartError``."""
    said = Path(options.config.text("binaryPath"))
    if said.is_file() and os.access(said, os.X_OK):
        return said
    try:
        return envoy_binary()
    except EnvoyNotFoundError as error:
        raise StartError(str(error)) from None
