"""``derain-bench``: latency against PyTorch eager, quality and limits in one table."""
