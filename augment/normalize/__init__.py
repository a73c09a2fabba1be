"""From uint8 pixels to the floats a network eats: the ``normalize:`` section, its methods, and their way back."""
