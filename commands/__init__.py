"""The groups of the `koubo` command, one file each; a room is imported only when its command runs."""
