"""What a user's list stands on, the best that is possible for them first: for the page and the pipeline alike."""

TIERS = {
    "model": "Out of what the champion has learned of this user.",
    "content": "By artist, genre and tags of what this user heard: that is too little for the champion.",
    "segment": "What users of the same country or age hear most: this user's own taste is not known.",
    "popularity": "What everybody hears most: nothing is known of this user's taste.",
}
"""Each tier's name, and what is said of a list that stands on it."""
