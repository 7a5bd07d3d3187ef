"""Everything that speaks HTTP to people: the gate, own pages, sign-in, the viewer. Starlette is used here and nowhere else."""
