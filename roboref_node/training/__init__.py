"""Training of pointing models: data on disk, packing, objectives, optimisation."""
