"""Lets the tests of this folder import the stage they play on: `virtual_time`, `whole_node` and `scenes`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
