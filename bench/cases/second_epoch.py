"""The second epoch of a stream, with the service's cache of decoded images, against DataLoader."""

from bench import photographs
from bench.case import Case, Pair, Run

CACHE_BYTES = 8 * 2**30

CASE = Case(
    name="second-epoch",
    title="Stream, second epoch, decoded images cached",
    pairs=(
        Pair(
            Run("ours", {"epoch": 1, "decode_cache_bytes": CACHE_BYTES}, "augment, second epoch"),
            Run("dataloader_cv2"),
            at_least=6,
        ),
    ),
    prepare=photographs.lay_down,
    notes="The first epoch is read whole before the second is measured, with AUGMENT_DECODE_CACHE_BYTES at 8 GiB. "
    "DataLoader keeps nothing between epochs.",
)
