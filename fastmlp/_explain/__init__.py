"""Explanations of predictions by Shapley values; a leaf: nothing imports it until it is used."""
