"""Containers: which of their children are applied, and in which order. And NoOp, the child that does nothing."""

from augment.transforms import limits, schema
from augment.transforms.entry import ALL_TARGETS, Entry

_CHOSEN = {
    "n": schema.integer(1, limits.CHOICES, "how many children are chosen, all equally likely"),
    "replace": schema.flag("let a child be chosen more than once"),
}

ENTRIES = (
    Entry("OneOf", "Applies one child; the children's p are their weights.", targets=ALL_TARGETS, container=True),
    Entry(
        "SomeOf",
        "Chooses n children and applies each, in the order they are written, with its own p.",
        _CHOSEN,
        targets=ALL_TARGETS,
        container=True,
    ),
    Entry(
        "RandomOrder",
        "Chooses n children and applies each, in a random order, with its own p.",
        _CHOSEN,
        targets=ALL_TARGETS,
        container=True,
    ),
    Entry(
        "OneOrOther",
        "Applies the first of two children with probability p, else the second, whatever their own p.",
        targets=ALL_TARGETS,
        container=True,
    ),
    Entry(
        "Sequential", "Applies all children in their order, each with its own p.", targets=ALL_TARGETS, container=True
    ),
    Entry("NoOp", "Does nothing; a choice for OneOf and SomeOf.", targets=ALL_TARGETS),
)
