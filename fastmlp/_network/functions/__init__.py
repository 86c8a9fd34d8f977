"""Custom activations, losses and optimizers: NumPy callables or C functions."""
