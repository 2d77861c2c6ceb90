"""Speech at 16 kHz: reading it, its log-mel spectrogram, and whether somebody speaks."""
