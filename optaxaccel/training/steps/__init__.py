"""One step and its program. Read `step` first: loss, gradient and update, the same for every method.

state     `TrainState`: parameters, batch statistics, state of the optimiser, key
loss      the objective of a batch, as value_and_grad and as `value_fn`
step      one training step;  several  many of them in one call;  evaluated_state  one batch of an evaluation
parallel  devices: how a batch is laid out over them
feed      batches: resident on the device, or streamed
remember  results that later runs of the process share, by all that they depend on
program   all of these compiled, once for all runs that differ in numbers only
members   runs of a task as one program, a state each;  member  such a state, and what of it a checkpoint holds
fingerprint  whether a record is of this very task and its data
diagnosing  what methods tell of themselves, from their states to rows
"""
