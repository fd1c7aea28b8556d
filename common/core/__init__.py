"""What knows nothing of images and levels: errors, whole files, locks, threads, the terminal, growing tables, Keras's start."""
