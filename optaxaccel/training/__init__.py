"""One training loop for every method, whatever the model, the data and the number of devices.

    run/        what a run is: its specification, its optimiser, optax's methods to compare with
    steps/      one step and its program: loss, state, devices, batches, evaluation
    keeping/    what stays of a run: records, checkpoints, traces, lines on a terminal
    histories/  extrapolation of the parameters that were kept, beside training or from files
    loop        trains one run, out of all of these
    many/       many runs: together, in grids, as an experiment
    allocation  how the process holds memory

Imports point from the last to the first.
"""
