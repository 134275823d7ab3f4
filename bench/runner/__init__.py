"""Plans, workers, progress: a protocol's runs done one by one or side by side, each leaving a record."""
