"""The models that users hold, and how each is written to a file."""
