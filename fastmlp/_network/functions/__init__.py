"""Users' own functions: losses, activations and optimizers, as NumPy callables or C functions."""
