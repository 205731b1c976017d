"""Charts as inline SVG: pure functions from numbers to markup, coloured by the style sheet."""

from webapp.rendering.charts.bar_charts import candidate_bars, interval_plot, max_score, score_bar
from webapp.rendering.charts.histograms import histogram
from webapp.rendering.charts.line_charts import Series, line_chart, trials_chart

__all__ = [
    "Series",
    "candidate_bars",
    "histogram",
    "interval_plot",
    "line_chart",
    "max_score",
    "score_bar",
    "trials_chart",
]
