"""luigid, and the scheduler in the process that takes over when luigid is gone."""
