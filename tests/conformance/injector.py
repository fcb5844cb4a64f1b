"""What the cases of the injection webhook need: its configurations as files, and servers with the policies they name.

    python tests/conformance/injector.py FOLDER DEFAULTS

writes FOLDER/SCENARIO.yaml for each scenario, and serves until its standard input ends. It prints the ports as JSON, by
policy; ``plain`` is one without selectors. DEFAULTS has the mesh configuration and the values of the cases.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from dataclasses import replace
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from controlplane.apis.mesh import MeshConfig
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.injector.values import Values
from controlplane.injector.webhooks import Injector, webhook_configuration
from controlplane.webhooks.injection import injection
from controlplane.webhooks.review import Webhook
from controlplane.webhooks.server import WebhookServer
from tests.webhooks.tls import Root

CANARY = Injector("canary")
SCENARIOS = {
    "default": (Injector(),),
    "default-auto": (Injector(automatic=True),),
    "canary": (CANARY,),
    "default-and-canary": (Injector(), CANARY),
    "canary-tag-prod": (CANARY, Injector("canary", "prod")),
    "default-and-canary-tag-prod": (Injector(), CANARY, Injector("canary", "prod")),
    "canary-tag-default": (CANARY, Injector("canary", "default")),
    "canary-tag-default-auto": (CANARY, Injector("canary", "default", automatic=True)),
}
SELECTORS = {
    f"{each}InjectSelector": [{"matchExpressions": [{"key": each, "operator": "Exists"}]}]
    for each in ("never", "always")
}


async def serve(defaults: Path, context: ssl.SSLContext) -> None:
    """Serve one webhook for each policy."""
    settings = Settings(
        values=Values.parse((defaults / "values.json").read_text()),
        mesh=MeshConfig.parse((defaults / "mesh.yaml").read_text()),
    )
    ports = {}
    for name in ("plain", "enabled", "disabled", "sometimes"):
        stated = {} if name == "plain" else {"policy": name, **SELECTORS}
        own = replace(settings, config=InjectorConfig.parse(json.dumps(stated)))
        reviewer = injection(lambda namespace, own=own: replace(own, namespace=namespace))  # type: ignore[misc]
        server = WebhookServer(context, {"inject": Webhook(reviewer, is_slow=True, answers_nonsense=True)})
        ports[name] = await server.start("127.0.0.1", 0)
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Write the files, then serve."""
    folder, defaults = Path(sys.argv[1]), Path(sys.argv[2])
    for name, injectors in SCENARIOS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(map(webhook_configuration, injectors)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Root.new().load(context, folder)
    asyncio.run(serve(defaults, context))


if __name__ == "__main__":
    main()
