"""What a training step would take on a published denoiser: counted (forecast), measured (check), shown (tables)."""
