"""The extractors that travel with Litmus, one file each. None imports torch before it is loaded."""
