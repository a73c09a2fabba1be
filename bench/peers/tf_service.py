"""tf.data service: a dispatcher and a worker in one separate process; the trainer fetches finished batches."""

import subprocess
import sys
from typing import Any

from bench.peers import tf_data
from bench.trainer import Trainer

TITLE = "tf.data service"
NEEDS = tf_data.NEEDS

SERVER = """
import sys
import tensorflow as tf

dispatcher = tf.data.experimental.service.DispatchServer()
address = dispatcher.target.split("://")[1]
worker = tf.data.experimental.service.WorkerServer(
    tf.data.experimental.service.WorkerConfig(dispatcher_address=address))
print(dispatcher.target, flush=True)
sys.stdin.read()
"""


def run(trainer: Trainer) -> None:
    import tensorflow as tf

    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101 - a pipe was requested
        dataset: Any = tf_data.images(trainer.work).batch(trainer.work.batch_size, drop_remainder=True)
        service = tf.data.experimental.service
        address = server.stdout.readline().strip()
        served = dataset.apply(service.distribute(processing_mode=service.ShardingPolicy.OFF, service=address))
        trainer.train(tf_data.batches(served))
        server.kill()
