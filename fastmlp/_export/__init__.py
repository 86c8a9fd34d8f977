"""Trained networks written for other programs: ONNX and C."""
