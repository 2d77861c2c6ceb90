"""The ground floor: speech in, ticks out. No sockets, no web framework, no torch."""

import sys

# OpenVINO counts its uses and may report them; without this package of its own it does neither.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
