"""Export of estimators for tables to ONNX and C."""
