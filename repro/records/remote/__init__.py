"""Runs on shared storage: a mirror folder, a lease for the one driver, and conditional writes."""
