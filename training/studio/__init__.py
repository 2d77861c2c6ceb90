"""Renders synthetic presenters that talk: licence-clean data whose truth is known exactly."""
