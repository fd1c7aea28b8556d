"""Images as arrays, clips, the ffmpeg program, and how far two images are apart."""
