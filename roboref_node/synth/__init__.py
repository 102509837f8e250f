"""Scenes and questions with known answers: the simulated part of RefSpatial at tabletop scale."""
