"""References: the look of other pictures, or parts of them, taken from a dataset that the pipeline names."""

from augment.transforms import limits, schema
from augment.transforms.entry import ALL_TARGETS, Entry

FAMILY = "reference"

_REFERENCES = {"references": schema.name("name of the dataset that the references are taken from")}
_BLEND = {"blend_ratio": schema.pair(schema.number(0, 1, "weight of the result; at 0 the picture stays"))}

ENTRIES = (
    Entry(
        "FDA",
        "Gives the picture's low frequencies the amplitudes of a reference's (Yang and Soatto, 2020).",
        {
            **_REFERENCES,
            "beta_limit": schema.pair(
                schema.number(0, 0.5, "highest frequency that is changed, as a share of the shorter side's pixels"),
                scalar="from-zero",
            ),
        },
        references=True,
    ),
    Entry(
        "HistogramMatching",
        "Gives each channel the histogram of a reference.",
        {**_REFERENCES, **_BLEND},
        references=True,
    ),
    Entry(
        "PixelDistributionAdaptation",
        "Moves the colours to where those of a reference lie.",
        {
            **_REFERENCES,
            **_BLEND,
            "transform_type": schema.choice(
                {
                    "pca": "mean and principal axes of the colours",
                    "standard": "mean and deviation of each channel",
                    "minmax": "least and largest value of each channel",
                },
                "what becomes the reference's",
            ),
        },
        references=True,
    ),
    Entry(
        "TemplateTransform",
        "Blends the picture with a reference of its size.",
        {
            **_REFERENCES,
            "img_weight": schema.pair(
                schema.number(0, 1, "weight of the picture; that of the reference is what is left of 1"),
                scalar="repeat",
            ),
        },
        references=True,
    ),
    Entry(
        "OverlayElements",
        "Pastes elements of references onto the picture, cut out by their masks where they have some.",
        {
            **_REFERENCES,
            "num_elements": schema.pair(schema.integer(1, limits.ELEMENTS, "number of elements"), scalar="repeat"),
            "scale_range": schema.pair(
                schema.number(0, 1, "size of an element: the share of height and width that it fits into", above=True)
            ),
            "fill_mask": schema.optional(
                schema.integer(0, 255, "class index of the mask below an element"), "the mask stays"
            ),
        },
        targets=ALL_TARGETS,
        references=True,
    ),
)
