"""What stays of a run. Read `journal` first: it turns measurements into rows.

records     JSON lines: cut off where a run was stopped, read again;  writer  writes them
lines       whole lines of a file;  measurements  kept by columns, for records of long runs
soundness   what a record's rows must hold
journal     what is measured, when it is fetched, how it is written and told;  metrics  on their way from the device
memory      how much of it was used
checkpoint  orbax behind one class (imported where it is needed);  keep  when one is written and which is restored
reading     of checkpoints, while their run trains too
older_states  checkpoints of states that had fewer fields
interrupt   signals and the lock of a folder
probes      curvature beside training
sinks       TensorBoard, wandb;  trace  a profile of some steps;  progress  lines on a terminal
"""
