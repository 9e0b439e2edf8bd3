"""Whole loops for deterministic problems, one `while_loop` each: `minimize` and `fixed_point`."""

__all__: list[str] = []
