"""Numerics that know no method: trees, histories, mixing coefficients, curvature."""
