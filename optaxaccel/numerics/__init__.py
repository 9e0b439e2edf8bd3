"""Numerics that know no method, one concept a file.

trees                  linear algebra over pytrees, as far as optax.tree lacks it
ring                   the last k trees; `History` for a user's own
sums                   weighted sums, distances and inner products over a ring, in one pass
gram_weights           weights of sum one from a small matrix of squared distances
sequences              the last iterates in whichever form a caller keeps them, as columns
columns                the matrix whose columns are trees, read block by block
least_squares          weights of sum one from such columns, safe in float32
extrapolation_weights  the same weights, with their derivative
differences            least squares over a ring of differences and their Gram matrix, kept up to date
hessians               products with a Hessian
eigenpairs             an approximate eigenpair, unit vectors to start from, power iteration
lanczos                the lowest eigenpair from the products of a Krylov space
boxes                  parameters in boxes that say how they lie over devices
flat                   a tree as one real vector
line_search            searches along a line, as rules that say where to look next
branching              a part of a program that runs now and then
loops                  loops and branches whose results lie otherwise over devices than what they start from
closures               a function together with what it reads from elsewhere, as a key of a compiled program
compiler               what the compiler has to be told: one function a note
settling               a step whose state is held or begun anew, without a copy of the old one
packing                a tree as a few long vectors
sharding               which leaves may be split over devices
"""
