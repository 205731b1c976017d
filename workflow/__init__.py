"""The Luigi task graph: `luigi --module workflow RecommendAll`."""

from workflow.tasks import (
    Evaluate,
    Generate,
    Ingest,
    Promote,
    Publish,
    Recommend,
    RecommendAll,
    Refit,
    SelectModel,
    Split,
    Train,
    Tune,
)

__all__ = [
    "Evaluate",
    "Generate",
    "Ingest",
    "Promote",
    "Publish",
    "Recommend",
    "RecommendAll",
    "Refit",
    "SelectModel",
    "Split",
    "Train",
    "Tune",
]
