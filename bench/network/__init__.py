"""A denoiser seen from outside: how it is called, its layers and positions by role, its noise schedule."""
