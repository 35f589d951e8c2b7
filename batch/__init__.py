"""Thousands of clips on one machine or a cluster: ``derain-batch``, on Ray."""
