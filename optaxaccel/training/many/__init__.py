"""Many runs. Read `experiment` first: what a definition holds.

together    runs of one program that differ in seed and numbers, as one vmapped program;  trained_member  one of them
sweep       a grid of runs: together where that pays, one after the other elsewhere, finished ones skipped
executors   a sweep over many machines: a Ray cluster, SLURM;  recorded  what the record of one of many runs says
experiment  `Plan`, `Grid`, `Study`: what a file under experiments/ says
jobs        the runs that a plan asks for, and how they are executed
trajectory  a method on a function, step by step, for studies
minibatches  a small network with many settings and seeds, step by step, for studies

comparing          `compare`: methods on a task, tuned with equal budgets;  contenders  who is compared, and how
training_members   the runs of a comparison that share a program
compared           what was found: records and a table;  comparison_figure  its figure
"""
