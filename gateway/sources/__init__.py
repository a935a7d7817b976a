"""Where readings come from besides our own hub and links."""
