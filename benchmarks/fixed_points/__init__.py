"""Fixed points: the maps, the solvers that they are given to, and the table."""
