"""Charts as inline SVG: pure functions from numbers to markup, coloured by the stylesheet's classes."""

from webapp.rendering.charts.bar_charts import comparison, forest, highest, score_bar
from webapp.rendering.charts.histograms import histogram
from webapp.rendering.charts.line_charts import Series, line_chart, trials

__all__ = ["Series", "comparison", "forest", "highest", "histogram", "line_chart", "score_bar", "trials"]
