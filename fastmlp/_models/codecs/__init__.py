"""How each model is described in a file and rebuilt from it."""
