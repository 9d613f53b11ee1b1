"""Published weights: where they come from, what they must be, and how they get into the layers."""
