"""What everything stands on: errors, paths, files, random streams, text, the house style of figures.

Knows nothing of diffusion."""
