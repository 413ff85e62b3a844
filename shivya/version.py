"""The one place that holds the version."""

__version__ = "0.5.0.dev0"
