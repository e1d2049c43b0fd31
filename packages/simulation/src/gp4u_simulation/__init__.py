"""GP4U's protocols under seeded faults.

`world` is true time, chance, clocks and links. `referee` knows what users were promised and nothing of the code. `agent`,
`gateway`, `controller`, `database`, `money` and `store` carry messages and rows between the decisions of production, which
they import and never copy. `plants` breaks those decisions on purpose.
"""
