"""What tests share: builders, stand-ins, fixtures; importable as `support`."""
