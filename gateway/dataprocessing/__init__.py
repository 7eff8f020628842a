"""Data clusters for users: templates, images, flavors; what may be asked for, and what is made of it."""
