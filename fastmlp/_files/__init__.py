"""The file format: safetensors with a JSON description. It knows no model."""
