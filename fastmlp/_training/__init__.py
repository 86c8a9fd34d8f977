"""The training loop, and what a fit passes to it."""
