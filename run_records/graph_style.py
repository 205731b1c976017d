"""The style sheet of a run's drawing, in light and dark. Its selectors match nothing else on a page."""

from __future__ import annotations

STYLE = """
  .run-graph { --page: #ffffff; --ink: #1c2430; --soft: #5b6675; --line: #6b7787; --faint: #c3cad3;
               --done: #1a7f4b; --done-box: #eaf6ef; --skipped: #4a6785; --skipped-box: #eef2f7;
               --failed: #c0302b; --failed-box: #fdeeed; --waiting: #8792a0; --waiting-box: #ffffff;
               --running: #8a5a00; --running-box: #fff6e0; }
  @media (prefers-color-scheme: dark) {
    .run-graph { --page: #14181e; --ink: #e8ecf1; --soft: #a0abb8; --line: #8f9bab; --faint: #3c4653;
                 --done: #4cc38a; --done-box: #14291f; --skipped: #8fb0d3; --skipped-box: #1a2430;
                 --failed: #ff7b72; --failed-box: #331a1b; --waiting: #7d8896; --waiting-box: #14181e;
                 --running: #e3b341; --running-box: #2d2413; }
  }
  .run-graph text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
                    fill: var(--soft); }
  .run-graph .page { fill: var(--page); }
  .run-graph .title { font-size: 17px; font-weight: 600; fill: var(--ink); }
  .run-graph .name { font-size: 13px; font-weight: 600; fill: var(--ink); }
  .run-graph .box { stroke-width: 1.25; }
  .run-graph .edge { fill: none; stroke: var(--line); stroke-width: 1.5; }
  .run-graph .far { stroke: var(--faint); stroke-width: 1.25; }
  .run-graph .tip { fill: var(--line); } .run-graph .far-tip { fill: var(--faint); }
  .run-graph .done .box { fill: var(--done-box); stroke: var(--done); }
  .run-graph .done .bar { fill: var(--done); }
  .run-graph .skipped .box { fill: var(--skipped-box); stroke: var(--skipped); }
  .run-graph .skipped .bar { fill: var(--skipped); }
  .run-graph .failed .box { fill: var(--failed-box); stroke: var(--failed); stroke-width: 2; }
  .run-graph .failed .bar { fill: var(--failed); }
  .run-graph .running .box { fill: var(--running-box); stroke: var(--running); stroke-width: 2; }
  .run-graph .running .bar, .run-graph .share { fill: var(--running); }
  .run-graph .waiting .box { fill: var(--waiting-box); stroke: var(--waiting); stroke-dasharray: 5 4; }
  .run-graph .waiting .bar { fill: none; }
  .run-graph .waiting .name { fill: var(--soft); }
  .run-graph .critical .box { stroke-width: 3.5; }
  .run-graph .edge.critical { stroke: var(--ink); stroke-width: 3.5; }
  .run-graph .critical-tip { fill: var(--ink); }
"""
