"""Latency, quality and limits; nothing here yet."""
