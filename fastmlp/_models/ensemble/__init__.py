"""Ensembles: networks of equal shape that are trained together."""
