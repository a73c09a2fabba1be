"""Bounds on parameters that keep one transform from exhausting a machine, each with its reason.

Albumentations leaves most of these open: a kernel of 100,001 pixels, a million holes or an image padded to a
terabyte are valid there. Here they are refused when a pipeline is checked, and the catalogue's schemas have the
same numbers. With any combination of them an image of 512 x 512 takes seconds and less than a gigabyte (measured by
``tests/augment/transforms/test_limits.py``, marked long).
"""

from typing import Final

OUTPUT_SIDE_PX: Final = 4_096
"""Height or width that a pipeline may name. Training images are 32-2,048 px; 4,096 squared is 50 MB of pixels."""

OUTPUT_PIXELS: Final = 67_108_864
"""Height times width of anything rendered (8,192 squared), for sizes that depend on the image: scales and pads."""

PAD_PX: Final = 2_048
"""Padding on one side, and a shift in pixels."""

PAD_RATIO: Final = 2.0
"""Padding on one side as a share of the image's side: five times as high and wide, 25 times the pixels."""

MIRROR_IMAGES: Final = 4_096
"""Mirror images of the boxes that a reflecting border may make: 64 x 64 of them, 40 microseconds each."""

CHOICES: Final = 64
"""Alternatives that a list of sizes or indices may name."""

KERNEL_PX: Final = 99
"""Side of a convolution kernel; the cost of direct convolution is its square. Papers use 3-31."""

MEDIAN_KERNEL_PX: Final = 255
"""Side of a median or box kernel, whose cost does not grow with its square; 255 is OpenCV's own bound for uint8."""

SIGMA_PX: Final = 50.0
"""Standard deviation of a Gaussian kernel whose size depends on it: 301 pixels at six sigma."""

DISPLACEMENT_SIGMA_PX: Final = 200.0
"""Smoothing of a displacement field, whose kernel depends on it: 1,601 taps, twice, on two fields."""

DISPLACEMENT: Final = 10_000.0
"""Strength of an elastic deformation. Above it nothing of the image is left; the cost does not change."""

ITERATIONS: Final = 10
"""Passes of a repeated blur; ``GlassBlur``'s cost is their product with the image."""

NEIGHBOURHOOD_PX: Final = 32
"""Distance over which pixels may be swapped, and the radius of a defocus disc."""

ZOOM_FACTOR: Final = 3.0
"""Largest zoom of ``ZoomBlur``; with ``ZOOM_STEP`` it bounds the number of images that are averaged (200)."""

ZOOM_STEP: Final = 0.01
"""Smallest step of ``ZoomBlur``; a step of 0 would never end."""

SCALE_FACTOR: Final = 8.0
"""Largest factor of an image's sides; 64 times the pixels, and ``OUTPUT_PIXELS`` still holds."""

HOLES: Final = 512
"""Holes of a dropout; each costs a Python call."""

DONORS: Final = 8
"""Other images from which objects are pasted, each decoded at its full size; a mosaic of nine has as many."""

PASTED_OBJECTS: Final = 100
"""Objects of one donor that are pasted; each has a mask as large as the image. COCO's images have 93 at most."""

GRID_CELLS: Final = 64
"""Cells of a grid along one side."""

TILES_SHUFFLED: Final = 32
"""Tiles along one side that are shuffled; a box is cut into as many parts as tiles that it overlaps."""

MESH_CELLS: Final = 8
"""Cells along one side of a mesh whose every cell warps the whole image."""

CONTROL_POINTS: Final = 10
"""Control points along one side of a thin-plate spline; each pixel is compared with each of the squared number."""

AFFINE_GRID: Final = 32
"""Rows or columns of the grid of ``PiecewiseAffine``."""

SEGMENTS: Final = 1_000
"""Superpixels of an image; each scans the whole image, ten times."""

SEGMENTED_SIDE_PX: Final = 256
"""Longer side of the image that superpixels are computed on."""

TILES: Final = 64
"""Tiles of adaptive histogram equalisation along one side."""

STAINS_RANGE: Final = 10.0
"""Largest factor of a stain's intensity."""

FLARE_CIRCLES: Final = 64
"""Circles of a sun flare; each blends the whole image."""

FLARE_RADIUS_PX: Final = 2_000
"""Radius of a sun flare's source, drawn as up to a tenth as many discs."""

SHADOWS: Final = 32
"""Shadows on an image; each blends the whole image."""

SHADOW_VERTICES: Final = 32
"""Corners of one shadow."""

GRAVEL_PATCHES: Final = 64
"""Patches of gravel; each pebble is a Python loop."""

ELEMENTS: Final = 32
"""Elements pasted onto an image; each is read, decoded and resized."""

DROP_LENGTH_PX: Final = 512
"""Length of a rain drop."""

DROP_WIDTH_PX: Final = 64
"""Width of a rain drop's line."""

FACTOR: Final = 10.0
"""Largest factor of a brightness, contrast, saturation, sharpness or noise; above it images are black or white."""

ROUGHNESS: Final = 10.0
"""Rate at which a plasma pattern loses its detail; the pattern underflows far above it."""
