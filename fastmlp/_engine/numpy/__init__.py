"""The NumPy engine: the reference that the compiled engine is compared with."""
