"""Estimators of tables as ONNX and C."""
