"""Links between nodes: agreed on by both ends, measured, thickened by use, pruned, replaced when lost."""
