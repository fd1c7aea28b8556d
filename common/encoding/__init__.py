"""Images and clips encoded at a QP, or at the same quality by another codec, and the report."""
