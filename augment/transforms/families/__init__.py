"""The transforms of the catalogue, one file a family."""
