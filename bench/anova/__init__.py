"""The study of adapter positions: its cells (design), positions and sizes (places), board (study), and the probe."""
