"""HTML reports: one look, self-contained, static; templates in `templates/`, charts in `charts`."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kfp_bert_components import formats

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment", "render"]

FILTERS: dict[str, Callable[..., str]] = {
    "number": formats.number,
    "signed": formats.signed,
    "percent": formats.percent,
    "count": formats.count,
    "size": formats.size,
    "interval": formats.interval,
}


def render(template_name: str, **context: Any) -> str:
    """Fill a template of this package.

    Args:
        template_name: A file in `reports/templates`, for example "evaluation.html". It extends `base.html`
            and fills its blocks `title`, `summary` and `content`.
        **context: The names that the template uses; one that is missing is an error.

    Returns:
        A whole HTML page that loads nothing from outside itself. Every value is escaped unless it is Markup.
    """
    return environment().get_template(template_name).render(**context)


@lru_cache(maxsize=1)
def environment() -> "Environment":
    """What fills the templates: values are escaped, a missing name is an error, and FILTERS are there."""
    from pathlib import Path

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    return made
