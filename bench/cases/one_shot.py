"""Time of ``POST /v1/augment`` beyond the same work in process."""

from bench import photographs
from bench.case import DIFFERENCE, Case, Pair, Run

CASE = Case(
    name="one-shot",
    title="`POST /v1/augment` of one photograph: median milliseconds beyond the same work in process",
    pairs=(Pair(Run("post"), Run("one_shot"), figure="median_ms", how=DIFFERENCE, at_most=3),),
    prepare=photographs.lay_down,
    num_warm=2,
    num_batches=300,
    batch_size=1,
    notes="One request after another on one connection; image in, JPEG out.",
)
