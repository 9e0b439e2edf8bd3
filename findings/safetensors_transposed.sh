#!/usr/bin/env bash
# safetensors 0.8.0: `safetensors.numpy.save_file` stores an array that is not C-contiguous with wrong values.
#
# Most expect what numpy.save does: the values of the array that was passed, whatever its strides. The bytes of a
# transposed view are stored in the order in which they lie in memory, under the shape of the view, without an error.
# It matters wherever kernels are transposed on the way between frameworks: a Linear layer's weight of PyTorch is the
# transpose of a Dense kernel of Flax, so `{"kernel": weight.T}` saves another matrix, of the right shape.
#
# Exit status 0 while that is so, 1 once the values come back as they were.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "safetensors==0.8.0" "numpy==2.4.6"
"$folder/venv/bin/python" - "$folder/kernel.safetensors" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

weight = np.arange(6.0).reshape(2, 3)
save_file({"kernel": weight.T}, sys.argv[1])
kernel = load_file(sys.argv[1])["kernel"]
print(f"safetensors {safetensors.__version__}, numpy {np.__version__}")
print("saved ", weight.T.tolist())
print("loaded", kernel.tolist())
sys.exit(1 if np.array_equal(kernel, weight.T) else 0)
PYTHON
