"""``python -m shivya`` is the command line."""

from __future__ import annotations

from shivya.cli import main

raise SystemExit(main())
