"""Images joined with others of their split, with their targets."""

from augment.transforms import limits, schema
from augment.transforms.donors.copy_paste import CopyPaste
from augment.transforms.donors.mosaic import Mosaic
from augment.transforms.entry import area_for_downscale, fill, fill_mask, interpolation, moving_entry, named_size, size

ENTRIES = (
    moving_entry(
        "Mosaic",
        "Joins the image with 3 or 8 others of its split on a grid, with boxes, masks and keypoints of all.",
        {
            "size": size(title="height, width"),
            "num_images": schema.choice({4: "4 in 2 x 2 cells", 9: "9 in 3 x 3 cells"}, "number of images"),
            "center_range": schema.pair(
                schema.number(
                    0, 1, "meeting point of the four cells, or middle of the nine, as a share of height and width"
                )
            ),
            "fit_mode": schema.choice(
                {
                    "cover": "a part of the image fills its cell",
                    "contain": "the whole image is in its cell",
                    "half": "scaled to fit half the height and width of the result, cut at its cell",
                },
                "scaling of an image to its cell; its aspect ratio stays",
            ),
            "interpolation": interpolation(),
            "area_for_downscale": area_for_downscale(),
            "fill": fill("colour of the parts of a cell that its image leaves empty"),
            "fill_mask": fill_mask("class index there"),
        },
        donors=True,
        implementation=Mosaic,
        output_size=named_size,
    ),
    moving_entry(
        "CopyPaste",
        "Pastes objects of other images of the split onto the image, cut out by their instance masks.",
        {
            "num_donors": schema.integer(1, limits.DONORS, "number of images from which objects are taken"),
            "share_range": schema.pair(
                schema.number(0, 1, "share of a donor's objects that is pasted, at least one of them")
            ),
            "max_objects": schema.integer(1, limits.PASTED_OBJECTS, "largest number of objects pasted from one donor"),
            "scale_range": schema.pair(
                schema.number(0.01, limits.SCALE_FACTOR, "size of a donor; at 1 it just fits the image")
            ),
            "flip_p": schema.number(0, 1, "probability that a donor is mirrored left to right; not with keypoints"),
            "blend_sigma": schema.number(
                0, limits.SIGMA_PX, "standard deviation in pixels of the Gaussian that softens edges; 0 is a hard edge"
            ),
            "interpolation": interpolation(),
            "area_for_downscale": area_for_downscale(),
        },
        requires=frozenset({"boxes", "instance_masks"}),
        donors=True,
        implementation=CopyPaste,
    ),
)
