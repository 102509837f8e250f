"""A simulated Unitree G1 in a furnished flat: floor plans, the robot's frames and arms, a surveyed map, a walker. No ROS here.

`SimulatedG1` lives in `roboref_node.sim_g1.world`: importing it loads MuJoCo. `nodes.sim_g1` publishes it.
"""
