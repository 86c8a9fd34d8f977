"""Many networks as one: their data, what is measured of them, their fit, what users call."""
