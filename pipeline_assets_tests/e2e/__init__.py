"""The platform as its users run it: webserver and daemon, started for real and killed for real."""
