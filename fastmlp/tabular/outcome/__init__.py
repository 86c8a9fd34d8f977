"""What is predicted: targets, losses, scores, and the calibration of predictions."""
