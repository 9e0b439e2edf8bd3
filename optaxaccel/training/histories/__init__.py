"""Extrapolation of parameters that were kept.

beside   while training goes on: histories in the loop, a copy extrapolated and evaluated
offline  from a folder of checkpoints, of this package or of others
formats  how those are read and written: npz, msgpack, orbax
"""
