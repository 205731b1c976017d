"""The Luigi task graph: `luigi --module workflow RecommendAll`."""

from workflow.tasks import (
    Evaluate,
    EvaluateLists,
    Generate,
    Ingest,
    Promote,
    Publish,
    Recommend,
    RecommendAll,
    RecommendAsOf,
    Refit,
    SelectModel,
    Split,
    Train,
    Tune,
)

__all__ = [
    "Evaluate",
    "EvaluateLists",
    "Generate",
    "Ingest",
    "Promote",
    "Publish",
    "Recommend",
    "RecommendAll",
    "RecommendAsOf",
    "Refit",
    "SelectModel",
    "Split",
    "Train",
    "Tune",
]
