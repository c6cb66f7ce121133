"""The commands of the workstation half: convert, distill, demo."""
