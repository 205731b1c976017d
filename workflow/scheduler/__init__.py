"""luigid, and the local scheduler that takes over when luigid stops answering."""
