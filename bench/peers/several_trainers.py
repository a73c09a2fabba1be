"""augment over HTTP to several trainers on one stream, each a process of its own; option ``trainers``.

All of them take the warm batches, wait for each other, take the measured ones and wait again.
"""

import os
import subprocess
import sys

from augment.client.client import Client
from bench.peers import ours, served
from bench.trainer import Trainer
from bench.work import Work

TITLE = "augment, trainers on one stream"
NEEDS = ours.NEEDS


def run(trainer: Trainer) -> None:
    work = trainer.work
    with served.service(work) as client:
        served.register(client, work.folder)
        ours.declared(client, work)
        url = _url(client)
        command = [sys.executable, "-m", "bench.peers.several_trainers", url, work.to_json()]
        readers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            for _ in range(work.options["trainers"])
        ]
        _each(readers, "import")
        trainer.say("ready")
        _each(readers, "warm")
        trainer.say("first")
        trainer.say("begin")
        _each(readers, "measure")
        trainer.say("end", pictures=len(readers) * work.num_batches * work.batch_size)
        for reader in readers:
            reader.communicate()


def _url(client: Client) -> str:
    server = client._transport.current  # noqa: SLF001 - what the bench itself gave
    return f"http://{server.host}:{server.port}"


def _each(readers: "list[subprocess.Popen[str]]", phase: str) -> None:
    """Start a phase in all readers, and wait for all to end it."""
    for reader in readers:
        assert reader.stdin is not None  # noqa: S101 - a pipe was asked for
        print(phase, file=reader.stdin, flush=True)
    for reader in readers:
        assert reader.stdout is not None  # noqa: S101 - a pipe was asked for
        if reader.stdout.readline().strip() != phase:
            raise RuntimeError(f"a trainer died in the phase {phase!r}")


def main() -> None:
    """One trainer."""
    work = Work.from_json(sys.argv[2])
    trainer = Trainer(work)
    with Client(sys.argv[1]) as client:
        batches = ours.declared(client, work).epoch(0)
        for phase, num in (("import", 0), ("warm", work.num_warm), ("measure", work.num_batches)):
            sys.stdin.readline()
            for _ in range(num):
                trainer.touch(next(batches).images)
            sys.stdout.write(f"{phase}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
