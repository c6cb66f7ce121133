"""Programs of examples/, as they are run."""
