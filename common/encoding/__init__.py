"""Images and clips coded at a QP, or as well as that by another codec, and the report."""
