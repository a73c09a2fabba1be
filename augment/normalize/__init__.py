"""Normalisation of uint8 pixels to floats: the ``normalize:`` section, its methods, and their inverses."""
