"""From a checkpoint to one compact file: the workstation half of minibert."""
