"""Two thin front ends over the same functions."""

import os

# As in `policies.deploy`, before anything imports ONNX Runtime, and for every process that is started from here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
