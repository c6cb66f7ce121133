"""Work that depends on the text: tokens and whole texts that need no further layers leave early."""
