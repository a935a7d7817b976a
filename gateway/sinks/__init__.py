"""Where a consumer delivers to; the file name is the kind."""
