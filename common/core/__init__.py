"""The lowest storey, which knows nothing of images: errors, whole files, locks, threads, the terminal, Keras."""
