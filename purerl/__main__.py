"""`python -m purerl` is `purerl`."""

import sys

from purerl.cli import main

if __name__ == "__main__":
    sys.exit(main())
