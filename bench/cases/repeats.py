"""A stream that takes three draws of each decoded image, against one that takes one."""

from bench import photographs
from bench.case import Case, Pair, Run

CASE = Case(
    name="repeats",
    title="`repeats: 3` against 1",
    pairs=(Pair(Run("ours", {"repeats": 3}, "repeats 3"), Run("ours", {"repeats": 1}, "repeats 1"), at_least=2),),
    prepare=photographs.lay_down,
    batch_size=48,
    notes="Batches of 48 rows, because 3 does not divide 64.",
)
