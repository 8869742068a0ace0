"""`python -m sparsify`."""

import sys

from sparsify.cli.app import main

sys.exit(main())
