"""What is left: arithmetic, bytes, rooflines and the limits of each Jetson."""
