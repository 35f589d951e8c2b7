"""Sinks of frames, one kind a file."""
