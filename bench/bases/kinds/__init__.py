"""The kinds of bases that travel with Litmus, one file each. None imports torch before a base is loaded."""
