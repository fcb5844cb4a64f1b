"""gRPC of other languages against both ports: ``python -m tests.interoperation [go] [java] [rust]``.

Java needs Maven with a JDK and Rust needs cargo, which CI does not have; Go is a test of CI, too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests import inherited
from tests.feature.identities import securely
from tests.feature.objects import MESH
from tests.interoperation.clients import CLIENTS, told


def main() -> None:
    """Build and run them; exit with 1 where a stream was not served."""
    inherited.settle()
    good = True
    for name in sys.argv[1:] or CLIENTS:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            client = CLIENTS[name](folder / name)
            with securely(folder, *MESH) as server:
                for where, said in told(client, server, folder).items():
                    good &= not said.startswith("FAILED")
                    print(f"{name}, {where}: {said}", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
