"""Training Configs into Runs."""
