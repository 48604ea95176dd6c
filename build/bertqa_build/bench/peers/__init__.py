"""Questions per second and F1 of what a user would write without this project, and of ours."""
