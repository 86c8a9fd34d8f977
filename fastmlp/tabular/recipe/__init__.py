"""How networks are trained on a table: members, epochs, the line, the blend, the budget."""
