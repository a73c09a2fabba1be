"""An expansion on disk, eight copies of each photograph, against a script."""

from bench import photographs
from bench.case import Case, Pair, Run

COPIES = 8


CASE = Case(
    name="expansion",
    title="Expansion x8 of 1,000 photographs, JPEG quality 90",
    pairs=(Pair(Run("expand", {"copies": COPIES}), Run("pool", {"copies": COPIES}), at_least=1.5),),
    prepare=photographs.lay_down,
    num_warm=2,
    num_batches=2,
    notes="Both whole, with their start and their imports; Albumentations imports PyTorch if that is installed, as "
    "it is for the script. `augment expand` also scans (and so hashes) the folder, writes a manifest and waits until "
    "the data is on the disk; the script does none of it.",
)
