"""Foundations: ranges of options, the lock of a fit, history, communicators."""
