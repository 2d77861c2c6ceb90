"""Text to speech: the role of a voice and its implementations."""
