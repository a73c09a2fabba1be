"""Memory of the service, and start of a stream, with more records than most users have."""

from bench import photographs
from bench.case import DIFFERENCE, Case, Pair, Run

CASE = Case(
    name="million-records",
    title="Memory while streaming, in MB: 1,000,000 records less 1,000",
    pairs=(
        Pair(
            Run("many_records", {"records": 1_000_000, "decode_cache_bytes": 0}, "1,000,000 records"),
            Run("many_records", {"records": 1_000, "decode_cache_bytes": 0}, "1,000 records"),
            figure="peak_mb",
            how=DIFFERENCE,
            at_most=50,
        ),
    ),
    prepare=photographs.lay_down,
    num_batches=20,
    notes="A manifest whose rows name the same photographs again and again (bench/synthetic.py). Memory is the "
    "proportional set size of service, workers and trainer, mapped pages of the manifest included; the cache of "
    "decoded images is off, because a thousand records would fill and map it and a million would not.",
)
