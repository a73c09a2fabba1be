"""One run, in a process of its own: ``python -m bench.run PEER WORK``, started by the harness alone."""

import importlib
import sys

from bench.trainer import Trainer
from bench.work import Work


def main() -> None:
    """Import the peer's libraries, or say which is missing; then run it."""
    peer = importlib.import_module(f"bench.peers.{sys.argv[1]}")
    trainer = Trainer(Work.from_json(sys.argv[2]))
    for module, requirement in peer.NEEDS.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a peer's import may raise anything; what it raised is reported
            trainer.say("missing", module=module, error=f"{type(error).__name__}: {error}", requirement=requirement)
            return
    peer.run(trainer)


if __name__ == "__main__":
    main()
