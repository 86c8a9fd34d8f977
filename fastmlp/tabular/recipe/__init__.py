"""How networks are trained on a table: presets, members, folds, epochs, the blend, the budget."""
