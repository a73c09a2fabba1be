"""Four trainers on one stream against one: each batch is rendered once and delivered four times."""

from bench import photographs
from bench.case import Case, Pair, Run

CASE = Case(
    name="four-trainers",
    title="4 trainers on one stream: images delivered for a CPU-second, against 1 trainer",
    pairs=(
        Pair(
            Run("several_trainers", {"trainers": 4}, "4 trainers"),
            Run("several_trainers", {"trainers": 1}, "1 trainer"),
            figure="per_cpu_s",
            at_least=3.5,
        ),
    ),
    prepare=photographs.lay_down,
    notes="CPU-seconds are those of the service and of all trainers together, receiving included.",
)
