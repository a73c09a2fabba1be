"""A stream of ImageNet-size photographs, nothing cached, against each of the others."""

from bench import photographs
from bench.case import Case, Pair, Run

OURS = Run("ours", {"decode_cache_bytes": 0})

CASE = Case(
    name="uncached",
    title="Stream, nothing cached: random-resized-crop 224 and flip",
    pairs=(
        Pair(OURS, Run("dataloader_cv2"), at_least=1.15),
        Pair(OURS, Run("dataloader_pil"), at_least=1.4),
        Pair(OURS, Run("tf_data")),
        Pair(OURS, Run("tf_service"), at_least=1.5),
        Pair(OURS, Run("dali_cpu"), at_least=1.3),
    ),
    prepare=photographs.lay_down,
    notes="Files are read from the page cache by all; each decodes and augments every image. The service's cache of "
    "decoded images is off (AUGMENT_DECODE_CACHE_BYTES=0).",
)
