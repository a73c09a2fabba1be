"""The bare loop in two processes at once, one for each core, without communication; option ``workers``."""

import multiprocessing
from multiprocessing.connection import Connection

from bench.peers import bare
from bench.trainer import Trainer
from bench.work import Work

TITLE = "augment, two bare loops at once"
NEEDS = bare.NEEDS


def run(trainer: Trainer) -> None:
    work = trainer.work
    context = multiprocessing.get_context("spawn")
    pipes, loops = [], []
    for _ in range(work.num_workers):
        near, far = context.Pipe()
        loops.append(context.Process(target=_loop, args=(far, work)))
        pipes.append(near)
        loops[-1].start()
    _each(pipes, 1)
    trainer.say("ready")
    _each(pipes, work.num_warm)
    trainer.say("first")
    trainer.say("begin")
    each = -(-work.num_batches // work.num_workers)
    _each(pipes, each)
    trainer.say("end", images=each * work.num_workers * work.batch_size)
    for loop in loops:
        loop.kill()
        loop.join()


def _each(pipes: "list[Connection[int, None]]", num: int) -> None:
    for pipe in pipes:
        pipe.send(num)
    for pipe in pipes:
        pipe.recv()


def _loop(pipe: "Connection[None, int]", work: Work) -> None:
    bare.alone()
    trainer = Trainer(work)
    batches = bare.batches(work)
    while True:
        for _ in range(pipe.recv()):
            trainer.touch(next(batches))
        pipe.send(None)
