"""What there is, for the command line and the docs: methods, their parameter counts and budgets."""
