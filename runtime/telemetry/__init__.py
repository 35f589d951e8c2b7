"""What a run says about itself: statistics, sensors, metrics, systemd."""
