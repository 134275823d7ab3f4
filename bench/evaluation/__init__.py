"""From a tuned base to scores: sampling, features, the references that a block shares."""
