"""From a trained mouth to what serves it: export and latency benchmark."""
