"""Trained networks for other programs: as ONNX, as C; and plain networks of others read in."""
