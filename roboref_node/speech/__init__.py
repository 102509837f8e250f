"""From sound to sentences and back, without ROS: end-pointing, recognisers, dialogue, synthesis."""
