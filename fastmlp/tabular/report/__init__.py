"""The page about a fit, and the contributions of columns on it."""
