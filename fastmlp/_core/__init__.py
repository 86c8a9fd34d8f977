"""What every other package builds on: ranges of options, the lock of a fit, history, communicators."""
