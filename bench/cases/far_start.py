"""Additional time that a stream takes to begin far inside a late epoch of a billion records."""

from bench import photographs
from bench.case import DIFFERENCE, Case, Pair, Run

BILLION = 1_000_000_000

CASE = Case(
    name="far-start",
    title="Milliseconds to the first batch: epoch 9, batch 900,000 of a billion records, less batch 0",
    pairs=(
        Pair(
            Run("many_records", {"records": BILLION, "epoch": 9, "start": 900_000}, "batch 900,000"),
            Run("many_records", {"records": BILLION, "epoch": 9, "start": 0}, "batch 0"),
            figure="median_ms",
            how=DIFFERENCE,
            at_most=50,
        ),
    ),
    prepare=photographs.lay_down,
    num_warm=2,
    num_batches=2,
    notes="The manifest's footer names one record batch of 65,536 rows 15,259 times: the order of the epoch, the "
    "footer and the lookup are those of a billion records, the disk is not. Workers have rendered before.",
)
