"""Images as arrays, clips, the ffmpeg program, and image quality."""
