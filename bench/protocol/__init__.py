"""Protocols as checked models, and the TOML files that come with the package."""
