"""Real processes, real signals, real disks: what is left when one of them ends."""
