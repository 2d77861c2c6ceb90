"""The anchor: a presenter's idle video, how it is prepared, stored and walked."""
