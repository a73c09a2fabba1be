"""The one room that knows Albumentations and OpenCV.

Transforms of Albumentations that are slow for no reason, done faster: same parameters, same draws, same results.

Each class here takes the place of the one of its name. Where its pixels are not the very bytes of the original, its
docstring says what differs, and by how much at most.

The transforms of the catalogue, one file a family.

Policies: transforms that draw operations from a published space and apply them one after another.
"""
