"""The training loop, callbacks, metrics and data sources."""
