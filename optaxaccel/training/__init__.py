"""One training loop for every method: specification, state, step, loop, evaluation, records, experiments."""
