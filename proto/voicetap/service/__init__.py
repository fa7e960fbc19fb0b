"""What a service needs and an app does not. Imports nothing: `launch` must ask for its death signal at once."""
