"""The demonstration: the simulated cell and the refer node as processes, questions over DDS, answers held against the truth."""
