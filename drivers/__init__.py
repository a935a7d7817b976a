"""One file per device family; the file name is the kind."""
