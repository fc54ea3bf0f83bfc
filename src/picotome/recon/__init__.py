"""From tilt series to tomogram: the projector, its exact adjoint, and solvers of one signature."""
