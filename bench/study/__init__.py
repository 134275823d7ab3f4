"""The study: records -> tidy frame -> statistics. Reads records only; imports no torch."""
