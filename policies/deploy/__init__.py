"""What goes to the robot: a policy that acts, guarded. NumPy and ONNX Runtime alone, besides `simulation.chain`."""
