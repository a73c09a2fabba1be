"""What the service costs beyond a loop of the same decode and transforms."""

from bench import photographs
from bench.case import Case, Pair, Run

CASE = Case(
    name="beyond-bare",
    title="CPU-seconds beyond a bare loop of the same decode and transforms",
    pairs=(
        Pair(Run("ours"), Run("bare"), figure="cpu_s_per_1000", at_most=1.08),
        Pair(Run("ours"), Run("bare_twice"), figure="cpu_s_per_1000"),
    ),
    prepare=photographs.lay_down,
    notes="A ratio of 1.08 is 8 % beyond. The second line has one bare loop on each CPU at once: where two CPUs "
    "share one core, the same work takes more CPU-seconds than alone, and that is no cost of the service.",
)
