"""A page for people: what the camera sees, what was understood, what the robot is about to do, and a button that stops it."""
