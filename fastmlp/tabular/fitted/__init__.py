"""What a fit leaves behind: the fitted table, its report, and what is computed from it."""
