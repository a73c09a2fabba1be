"""Photographs of 12 megapixels, shorter side to 256 and crop 224, against DataLoader."""

from bench import photographs
from bench.case import Case, Pair, Run
from bench.work import RESIZE_CROP_FLIP

CASE = Case(
    name="twelve-megapixels",
    title="Photographs of 12 megapixels: shorter side to 256, random crop 224, flip",
    pairs=(
        Pair(Run("ours"), Run("dataloader_cv2"), at_least=4),
        Pair(Run("ours"), Run("dataloader_pil")),
        Pair(Run("ours"), Run("tf_service")),
        Pair(Run("ours"), Run("dali_cpu")),
    ),
    prepare=photographs.lay_down_large,
    pipeline=RESIZE_CROP_FLIP,
    batch_size=16,
    num_warm=4,
    num_batches=12,
    notes="The photographs are the user's, resized up to 4032 x 3024 by Pillow: they have the pixels of a phone's "
    "image, not its detail.",
)
