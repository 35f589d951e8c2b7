"""Video deraining on edge devices."""
