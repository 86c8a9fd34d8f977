"""Ensembles: many networks of one shape, trained together."""
