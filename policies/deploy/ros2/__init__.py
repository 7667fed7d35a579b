"""A bundle as a node of ROS 2: the very same loop and guard, fed by topics. Nothing of ROS is needed to import it."""
