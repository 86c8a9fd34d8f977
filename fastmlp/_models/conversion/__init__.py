"""Networks of other libraries as networks of this one, and the way back."""
