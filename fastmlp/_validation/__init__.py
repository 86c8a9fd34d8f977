"""Validation of user input: arrays, samples and options."""
