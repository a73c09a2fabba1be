"""Cost of the service beyond a loop of the same decode and transforms."""

from bench import photographs
from bench.case import Case, Pair, Run

OURS = Run("ours", {"decode_cache_bytes": 0})

CASE = Case(
    name="beyond-bare",
    title="CPU-seconds beyond a bare loop of the same decode and transforms",
    pairs=(
        Pair(OURS, Run("bare"), figure="cpu_s_per_1000", at_most=1.08),
        Pair(OURS, Run("bare_twice"), figure="cpu_s_per_1000"),
    ),
    prepare=photographs.lay_down,
    notes="The service's cache of decoded images is off: the loop keeps none either. A ratio of 1.08 is 8 % beyond. "
    "The second line has one bare loop on each CPU at once: where two CPUs share one core, the same work takes more "
    "CPU-seconds than alone, and that is no cost of the service.",
)
