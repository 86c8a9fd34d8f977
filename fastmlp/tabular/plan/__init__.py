"""What a fit plans before it trains: presets and their recipes, folds of rows, and its clock."""
