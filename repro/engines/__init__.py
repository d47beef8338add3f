"""Where cells run: this machine or a cluster."""
