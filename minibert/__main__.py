"""`python -m minibert` is the command `minibert`."""

from __future__ import annotations

import sys

from minibert.cli.main import main

sys.exit(main())
