"""The choice of columns: those that say nothing, that are names, or that give the target away."""
