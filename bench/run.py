"""One run, in a separate process: ``python -m bench.run PEER WORK``, started only by the harness."""

import importlib
import sys

from bench.trainer import Trainer
from bench.work import Work


def main() -> None:
    """Import the peer's libraries, or report a missing one; then run the peer."""
    peer = importlib.import_module(f"bench.peers.{sys.argv[1]}")
    trainer = Trainer(Work.from_json(sys.argv[2]))
    for module, requirement in peer.NEEDS.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a peer's import may raise anything; it is reported
            trainer.say("missing", module=module, error=f"{type(error).__name__}: {error}", requirement=requirement)
            return
    peer.run(trainer)


if __name__ == "__main__":
    main()
