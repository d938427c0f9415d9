"""What ``openenv validate`` looks at: the files, the running server, the image. A check is a function."""
