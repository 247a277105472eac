"""`python -m withstand`."""

import sys

from withstand.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
