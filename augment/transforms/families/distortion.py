"""Straight lines bend: elastic, lens and mesh distortions, shuffled tiles, grown and shrunk shapes."""

from collections.abc import Mapping
from typing import Final

from augment.transforms import limits, schema
from augment.transforms.entry import ALL_TARGETS, Change, Entry, interpolation, mask_interpolation, needs, warp

_KEYPOINTS = {
    "keypoint_remapping_method": schema.choice(
        {"mask": "to the nearest pixel", "direct": "the same"},
        "how keypoints follow; accepted for old files, it changes nothing",
    )
}


def _cells(high: int, description: str) -> schema.Schema:
    return schema.array({"type": "integer", "minimum": 1, "maximum": high}, 2, 2, description)


ENTRIES = (
    Entry(
        "ElasticTransform",
        "Moves every pixel by a smooth random field (Simard et al., 2003); it is seen from an alpha of 100 on.",
        {
            "alpha": schema.number(0, limits.DISPLACEMENT, "strength of the displacement"),
            "sigma": schema.number(1, limits.DISPLACEMENT_SIGMA_PX, "smoothness of the field: its Gaussian, in pixels"),
        }
        | warp()
        | {
            "approximate": schema.flag("smooth with a kernel of 17 pixels: faster, rougher"),
            "same_dxdy": schema.flag("one field for both directions"),
            "noise_distribution": schema.choice(
                {"gaussian": "Gaussian", "uniform": "uniform"}, "what the field is smoothed from"
            ),
        }
        | _KEYPOINTS,
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "GridDistortion",
        "Lays a grid over the picture and moves its lines at random.",
        {
            "num_steps": schema.integer(1, limits.GRID_CELLS, "cells of the grid on each side"),
            "distort_limit": schema.pair(
                schema.number(-1, 1, "how much a cell may grow or shrink, as a share of it"), scalar="symmetric"
            ),
            "normalized": schema.flag("keep the outer lines where they are, so that nothing leaves the frame"),
        }
        | warp()
        | _KEYPOINTS,
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "OpticalDistortion",
        "The barrel or pincushion distortion of a lens.",
        {
            "distort_limit": schema.pair(schema.number(-5, 5, "strength of the lens"), scalar="symmetric"),
            "mode": schema.choice({"camera": "camera matrix", "fisheye": "fisheye"}, "model of the lens"),
        }
        | warp()
        | _KEYPOINTS,
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "PiecewiseAffine",
        "Moves the points of a grid at random and bends the picture between them.",
        {
            "scale": schema.pair(
                schema.number(0, limits.PAD_PX, "standard deviation of a point's move as a share of the side"),
                scalar="from-zero",
            ),
            "nb_rows": schema.pair(schema.integer(2, limits.AFFINE_GRID, "rows of the grid"), scalar="repeat"),
            "nb_cols": schema.pair(schema.integer(2, limits.AFFINE_GRID, "columns of the grid"), scalar="repeat"),
            "absolute_scale": schema.flag("scale is in pixels"),
        }
        | warp()
        | _KEYPOINTS,
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "ThinPlateSpline",
        "Moves a few control points at random and bends the picture like a thin metal plate.",
        {
            "scale_range": schema.pair(schema.number(0, 1, "how far a control point moves; 1 is a tenth of the side")),
            "num_control_points": schema.integer(2, limits.CONTROL_POINTS, "control points on each side"),
        }
        | warp()
        | _KEYPOINTS,
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "GridElasticDeform",
        "Moves the corners of a mesh at random and warps each cell to them.",
        {
            "num_grid_xy": _cells(limits.MESH_CELLS, "cells of the mesh, across and down"),
            "magnitude": schema.integer(1, limits.PAD_PX, "how far a corner may move, in pixels"),
            "interpolation": interpolation(warps=True),
            "mask_interpolation": mask_interpolation(warps=True),
        },
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "RandomGridShuffle",
        "Cuts the picture into tiles and shuffles those of one size.",
        {"grid": _cells(limits.TILES_SHUFFLED, "tiles, down and across")},
        ALL_TARGETS,
        moves_pixels=True,
    ),
    Entry(
        "Morphological",
        "Grows the bright or the dark parts of the picture; what a mask or a box holds may grow or shrink with them.",
        {
            "scale": schema.pair(
                schema.integer(1, limits.KERNEL_PX, "width and height of the ellipse"), scalar="from-one"
            ),
            "operation": schema.choice({"dilation": "bright parts grow", "erosion": "dark parts grow"}, "what grows"),
        },
        frozenset({"image", "keypoints"}),  # the shape of an object would follow from its brightness, not its class
        moves_pixels=True,
    ),
)

CHANGES: Final[Mapping[str, Change]] = {
    "GridDistortion": needs(lambda params: (params["num_steps"], params["num_steps"]), "each cell holds a pixel")
}
