"""Charts as inline SVG: pure functions from numbers to markup, coloured by the stylesheet's classes."""

from webapp.charts.bars import comparison, forest, highest, score_bar
from webapp.charts.histograms import histogram
from webapp.charts.lines import Series, lines, trials

__all__ = ["Series", "comparison", "forest", "highest", "histogram", "lines", "score_bar", "trials"]
