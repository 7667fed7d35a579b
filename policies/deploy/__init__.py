"""What goes to the robot: a policy that acts, guarded. NumPy and ONNX Runtime alone, besides `simulation.chain`."""

import os

# From 1.32 on, ONNX Runtime keeps a record of its use and sends it off, on Linux, too: what is scanned is its owner's.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
