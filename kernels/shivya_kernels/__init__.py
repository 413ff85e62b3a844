"""The law of the mesh as pure JAX: no clock, no I/O, no global state, randomness only by key.

Import the modules, not names from here: `from shivya_kernels import hodge, flow`.
"""
