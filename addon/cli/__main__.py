"""Runs `python -m addon.cli`, which the scripts call."""

import sys

from .main import main

sys.exit(main())
