"""Replicas of the service that share the batches of one stream, against one service with as many workers."""

from bench import photographs
from bench.case import Case, Pair, Run


def _run(replicas: int, trainers: int, *, workers: int = 1, **options: float) -> Run:
    title = f"R = {replicas}" + (f" with {workers} workers" if workers > 1 else "") + f", K = {trainers}"
    title += ", one stalls for 5 s" if options else ""
    return Run("several_trainers", {"replicas": replicas, "trainers": trainers, "workers": workers, **options}, title)


_SETUPS = [(replicas, trainers) for trainers in (1, 4) for replicas in (2, 4)]

CASE = Case(
    name="replicas",
    title="R replicas with 1 worker each, K trainers: against one service with R workers",
    pairs=(
        *(
            Pair(_run(replicas, trainers), _run(1, trainers, workers=replicas), figure="cpu_s_per_1000", at_most=1.03)
            for replicas, trainers in _SETUPS
        ),
        *(
            Pair(_run(replicas, trainers), _run(1, trainers), figure="first_batch_ms", at_most=1.2)
            for replicas, trainers in _SETUPS
        ),
        Pair(_run(2, 4), _run(1, 4), figure="cache_hit_share", at_least=0.95),
        Pair(_run(4, 4), _run(1, 4), figure="cache_hit_share", at_least=0.95),
        Pair(_run(4, 1, stall_s=5.0), _run(4, 1), figure="hedges", how="difference", at_most=2),
    ),
    prepare=photographs.lay_down,
    notes="All replicas share the machine's CPUs, so that this shows what sharing costs, not what more machines give. "
    "CPU-seconds are compared with one service that keeps as many workers busy, because two busy threads of one core "
    "take more CPU-seconds for the same work. The time to the first batch is compared with one service of 1 worker.",
)
