"""Checks of everything that a user passes: arrays, samples and options."""
