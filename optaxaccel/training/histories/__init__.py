"""Extrapolation of parameters that were kept.

beside   while training goes on: histories in the loop, a copy extrapolated and evaluated
offline  from a folder of checkpoints, of this package or of others
order    which files are checkpoints, and which came first
layout   which part of one is the parameters
reading  the newest that are whole, finite and alike
formats  how they are read and written: orbax, msgpack, and the four of
         npz_files, safetensors_files, shards, torch_files
"""
