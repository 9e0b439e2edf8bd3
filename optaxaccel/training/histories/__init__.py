"""Extrapolation and merging of parameters that were kept.

beside    while training goes on: histories in the loop, a copy extrapolated and evaluated
offline   from a folder of checkpoints, of this package or of others: extrapolated
merging   likewise: merged by a weighted mean
writing   where a result goes, and which of the two ways to hold a history is taken:
          in_memory all is read, or streamed it stays in its files, by the sums of blocked
checkpoint_order  which files are checkpoints, and which came first
judging   a loss that chooses: a network on training images
layout    which part of one is the parameters
newest_checkpoints  the newest that are whole, finite and alike
formats   how they are read, mapped and written: orbax_steps, msgpack_files, npz_files,
          safetensors_files, shards, torch_files; deferred is what cannot be mapped
"""
