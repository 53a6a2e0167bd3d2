"""What looks at the world outside and tells it how the archive is; must not change what is stored."""
