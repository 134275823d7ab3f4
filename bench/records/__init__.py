"""What a run leaves: its record, where and with what it was made."""
