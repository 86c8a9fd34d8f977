"""A fit from the user's call to the fitted table: reading, training, updates."""
