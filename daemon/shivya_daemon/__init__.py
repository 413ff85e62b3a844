"""The node: protocol core, network drivers, the mind that runs the law, and the views on it.

Deliberately empty of imports, so that ``shivya status`` and ``shivya.Client`` can use the small
standard-library modules of this package without paying for the rest.
"""
