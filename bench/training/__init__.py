"""One training loop, and what prepares it: a method attached to a copy of a base."""
