"""What the seven scripts share, one subject a file.  Nothing here imports a script."""
