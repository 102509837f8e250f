"""Goals: grasp, place and stand-off poses for a robot, planned from what the camera saw and checked against its workspace."""
