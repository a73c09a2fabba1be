"""Quality: what codecs, lenses and small sensors leave of a picture."""

from augment.transforms import limits, schema
from augment.transforms.entry import Entry, interpolation

ENTRIES = (
    Entry(
        "ImageCompression",
        "Compresses the picture and decodes it again.",
        {
            "quality_range": schema.pair(schema.integer(1, 100, "quality of the codec")),
            "compression_type": schema.choice({"jpeg": "JPEG", "webp": "WebP"}, "the codec"),
        },
    ),
    Entry(
        "Downscale",
        "Makes the picture smaller and then larger again.",
        {
            "scale_range": schema.pair(schema.number(0.01, 1, "how small, as a share of the side")),
            "interpolation_pair": schema.record(
                {"downscale": interpolation("on the way down"), "upscale": interpolation("on the way up")},
                "how pixels between pixels are computed",
                required=("downscale", "upscale"),
            ),
        },
    ),
    Entry(
        "Superpixels",
        "Paints random segments of like colour with their mean.",
        {
            "p_replace": schema.pair(schema.number(0, 1, "share of the segments that is painted"), scalar="from-zero"),
            "n_segments": schema.pair(schema.integer(1, limits.SEGMENTS, "number of segments"), scalar="from-one"),
            "max_size": schema.integer(
                8,
                limits.SEGMENTED_SIDE_PX,
                "longer side at which it works, in pixels; larger pictures come out blurred",
            ),
            "interpolation": interpolation(),
        },
    ),
    Entry(
        "ChromaticAberration",
        "Shifts red and blue against green towards the edges, as a cheap lens does.",
        {
            "primary_distortion_limit": schema.pair(
                schema.number(-1, 1, "strength near the centre"), scalar="symmetric"
            ),
            "secondary_distortion_limit": schema.pair(
                schema.number(-1, 1, "strength near the edge"), scalar="symmetric"
            ),
            "mode": schema.choice(
                {"green_purple": "green and purple", "red_blue": "red and blue", "random": "either"}, "which fringes"
            ),
            "interpolation": interpolation(warps=True),
        },
    ),
)
