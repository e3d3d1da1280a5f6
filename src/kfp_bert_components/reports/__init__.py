"""HTML reports: one look, self-contained, static; templates in `templates/`, charts in `charts`."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_bert_components import formats

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Facts", "environment", "render", "written"]

# Names and values that a page begins with: which model, which data, when.
Facts = list[tuple[str, str]]

FILTERS: dict[str, Callable[..., str]] = {
    "number": formats.number,
    "signed": formats.signed,
    # a line of a table must not break before the sign
    "percent": lambda *given: formats.percent(*given).replace(" ", "\N{NO-BREAK SPACE}"),
    "count": formats.count,
    "size": formats.size,
    "interval": formats.interval,
}


def render(template_name: str, *, about: Facts, **context: Any) -> str:
    """Fill a template of this package.

    Args:
        template_name: A file in `reports/templates`, for example "evaluation.html". It extends `base.html`
            and fills its blocks `title`, `summary` and `content`.
        about: What the page is about, for the line above all.
        **context: The names that the template uses; one that is missing is an error.

    Returns:
        A whole HTML page that loads nothing from outside itself. Every value is escaped unless it is Markup.
    """
    return environment().get_template(template_name).render(about=about, **context)


def written(page: Path) -> tuple[str, str]:
    """A fact for a page: when it is written, in UTC, and where to; the folders of a pipeline's outputs name the run."""
    return "written", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, to {page}"


@lru_cache(maxsize=1)
def environment() -> "Environment":
    """What fills the templates: values are escaped, a missing name is an error, and FILTERS are there."""
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
