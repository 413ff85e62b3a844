"""The strongly consistent plane beside the mesh: what was done (audit), and who owes whom (credits)."""
