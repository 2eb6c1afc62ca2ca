"""A part of a page from the cache.

{% load perf_cache %}
{% cached "standard" "portfolio" portfolio.pk request.LANGUAGE_CODE tags=portfolio %} … {% endcached %}
"""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.template import Context, NodeList
from django.template.base import FilterExpression, Parser, Token, token_kwargs
from django.utils.safestring import SafeString

from paiid_perf.cache import get_or_compute
from paiid_perf.cache.keys import typed_text_of

register = template.Library()


class _CachedNode(template.Node):
    def __init__(
        self,
        nodelist: NodeList,
        strategy: FilterExpression,
        parts: Sequence[FilterExpression],
        tags: FilterExpression | None,
    ) -> None:
        self.nodelist, self.strategy, self.parts, self.tags = nodelist, strategy, parts, tags

    def render(self, context: Context) -> SafeString:
        key = ":".join(typed_text_of(part.resolve(context)) for part in self.parts)
        tags = self.tags.resolve(context) if self.tags else ()
        return get_or_compute(
            f"fragment:{key}",
            lambda: self.nodelist.render(context),
            strategy=self.strategy.resolve(context),
            tags=tags if isinstance(tags, list | tuple | set) else (tags,),
        )


@register.tag("cached")
def do_cached(parser: Parser, token: Token) -> _CachedNode:
    """``{% cached strategy name [what it varies by …] [tags=a model, an instance, a text or a list] %}``

    Raises:
        TemplateSyntaxError: the strategy or the name is missing, or a keyword is not ``tags``.
    """
    name, *bits = token.split_contents()
    keywords = token_kwargs([bit for bit in bits if "=" in bit], parser)
    parts = [parser.compile_filter(bit) for bit in bits if "=" not in bit]
    if len(parts) < 2 or set(keywords) - {"tags"}:
        raise template.TemplateSyntaxError(
            f"{{% {name} %}} takes a strategy, a name, what it varies by, and tags=…"
        )
    nodelist = parser.parse((f"end{name}",))
    parser.delete_first_token()
    return _CachedNode(nodelist, parts[0], parts[1:], keywords.get("tags"))
