"""Encoding: each codec once a session, whatever the number of receivers."""
