"""Saved tables: the schema of their files."""
