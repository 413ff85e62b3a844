"""Spirits: organisms that live on the mesh, and the packages in which they come."""
