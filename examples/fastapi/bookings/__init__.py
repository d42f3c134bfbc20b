"""Tables at venues, with an assistant that remembers its guests."""
