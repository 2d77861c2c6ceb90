"""Outlets: the presenter on its way to live platforms, programs and files."""
