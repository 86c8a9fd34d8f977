"""Tables that are read from `ArrowBlocks`: by blocks, in two passes, or once into a sample."""
