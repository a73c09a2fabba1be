"""Transforms: the only package that imports Albumentations and OpenCV.

    families/    one file for each family: entries of its transforms, their size rules and our classes
    policies/    AutoAugment and its kin: operations drawn from a published space, applied one after another
    donors/      transforms that join a sample with others: Mosaic, CopyPaste, images of another dataset
    runtime/     a resolved pipeline as a function of samples

The files next to these folders serve all of them: the catalogue, the check of documents, schemas, sizes and limits.
"""
