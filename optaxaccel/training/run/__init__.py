"""What a run is. Read `spec` first: `Run` is a frozen dataclass of literals that everything else is made from.

spec       `Run`, its fields and their checks; the standard library alone, since the command line is made from it
fields     what a field may hold
argument_text  arguments and lengths as text;  longer  a run that goes on longer than it was meant to
optimizer  `recipe(run)`: the transformation, its numbers (traced) and its oracle calls
baselines  what a method is compared with that optax does not have in this form
self_tuned_baselines  those of them that choose their own rate
"""
