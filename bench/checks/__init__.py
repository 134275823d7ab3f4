"""What every method is examined by: its promises (contract), ways of running it (running, packing), where (arena)."""
