"""The tiers of the fallback chain: the models that can serve a user, best first."""

TIERS = {
    "model": "From the champion, which knows this user's history.",
    "content": "From the artist, genre and tags of this user's history, which is too short for the champion.",
    "segment": "What users of the same country or age group hear most, because this user has no usable history.",
    "popularity": "What all users hear most, because nothing is known about this user's taste.",
}
"""The sentence that the page shows for a list of each tier, in order of preference."""

FALLBACK_ALGORITHMS = {"content": "content", "segment": "segment-popularity"}
"""The algorithm of each tier between the champion and overall popularity."""
