"""From values to markup: formats, links, rows and charts."""
