"""`python -m fastmlp` is the command `fastmlp`: see `fastmlp._cli`."""

from __future__ import annotations

import sys

from fastmlp._cli import main

if __name__ == "__main__":
    sys.exit(main())
