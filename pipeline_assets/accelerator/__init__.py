"""The device: its health, probes, driver, and faults for drills."""
