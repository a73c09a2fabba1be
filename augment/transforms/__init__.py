"""Transforms: the only package that imports Albumentations and OpenCV.

    families/    one file a family: the entries of its transforms, their size rules and the classes that are ours
    policies/    AutoAugment and its kin: operations drawn from a published space, applied one after another
    donors/      transforms that join a sample with others: Mosaic, CopyPaste, images of another dataset
    runtime/     a resolved pipeline as a function of samples

The files next to these folders are for all of them: the catalogue, the check of documents, schemas, sizes and limits.
"""
