"""Koubo as the face of voice agents of other frameworks."""
