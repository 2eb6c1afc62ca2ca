"""XSS by structure: would a browser find active content in this value?

The value is read by a small HTML tokenizer (https://html.spec.whatwg.org/multipage/parsing.html, with the liberties
that old browsers took) in three places: between elements, inside a quoted or bare attribute, and as a URL. What counts
is active content: elements that run or load code, event-handler attributes, script URLs, scripting CSS.
"""

from __future__ import annotations

import html
import re
from itertools import islice

#: Tags that are looked at in one value.
TAGS = 200

_TAG = re.compile(r"<[\s\x00/!?%]*([a-z%\"'\x00][^\s/>\x00=\"'<]*)")
_NAME = re.compile(r"^[\x00\"'%]+|[^\w:-].*", re.S)
_ATTRIBUTE = re.compile(
    r"([^\s/<>=\"'`\x00][^\s/<>=\x00]*)[\s/]{0,20}(?:=\s*(\"[^\"]{0,1500}\"?|'[^']{0,1500}'?|`[^`]{0,1500}`?|[^\s>]{0,600}))?|>|[\"'`<]"
)
_ACTIVE_NAMES = """
    script iframe frame frameset object embed applet isindex xss import layer ilayer bgsound noscript
    xml xsl:stylesheet portal fencedframe handler ev:listener
"""
#: Elements that run or load code by being there.
_ACTIVE = frozenset(_ACTIVE_NAMES.split())
#: Of these, those that do nothing without an attribute, and whose names are names of types: ``List<Object>``.
_BY_ATTRIBUTES = frozenset({"object", "xml", "handler", "layer", "frame", "portal", "import"})
_URL_NAMES = """
    href src action formaction data xlink:href background poster code codebase dynsrc lowsrc folder from
    to values content classid cite longdesc profile usemap archive manifest ping icon url implementation
    srcset by value srcdoc style xmlns xml:base base
"""
#: Attributes that hold a URL which the browser may follow.
_URLS = frozenset(_URL_NAMES.split())
_SCRIPT_URL = re.compile(
    r"[\"'`\s(]*(?:url\W*)?(?:\d*\s*;\s*url\s*=\s*[\"']?)?"
    r"(?:(?:java|vb|live|j|ecma)script:|mocha:|view-source:|feed:javascript|jar:"
    r"|data:(?!image/(?:png|jpe?g|gif|webp|bmp|avif|x-icon)|(?:audio|video|font)/|application/(?:pdf|font|json|octet)))"
)
_CSS = re.compile(
    r"expression\s*\(|(?:java|vb)script:|-moz-binding|behaviou?r\s*:|@import|-o-link|data:text|url\([^)]{0,80}[\[{;]",
    re.S,
)
#: Attributes whose value a front-end framework evaluates.
_DIRECTIVE = re.compile(
    r"(?:(?:data-|x-)?ng-(?:init|on-?\w+|click|dblclick|mouse\w+|key\w+|focus|blur|change|submit|copy|cut|paste|bind-html|"
    r"include)|v-(?:on|html)\b|x-(?:on|init|data|html|effect)\b|hx-on\b|@[a-z]+)"
)
_HANDLER = re.compile(r"on[a-z]{3,}\Z|on[a-z-]+\Z")
_CSS_NOISE = re.compile(r"\\0{0,4}([0-9a-f]{2})\s?|\\|/\*.*?\*/|\x00", re.S)
_URL_NOISE = re.compile(r"[\x00-\x20\x7f-\xa0\u2000-\u200f\u2028-\u202f\ufeff\u180e\ufffe]+")
#: What a browser takes out of a URL; a space within a word it leaves (https://url.spec.whatwg.org/#url-parsing).
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2000-\u200f\u2028-\u202f\ufeff]+")
#: How the names of DOM events begin (https://html.spec.whatwg.org/#events-2); outside a tag only they count.
_EVENT = (
    r"on(?:abort|activate|after\w+|animation\w+|auxclick|before\w+|begin|blur|bounce|cancel|canplay\w*|cell\w+|change|click|"
    r"close|contextmenu|control\w+|copy|cuechange|cut|data\w+|dblclick|deactivate|drag\w*|drop|durationchange|emptied|"
    r"end(?:ed)?|error\w*|filterchange|finish|focus\w*|formdata|fullscreen\w*|gotpointer\w+|hashchange|help|input|invalid|"
    r"key(?:down|up|press)|language\w+|layoutcomplete|load\w*|losecapture|lostpointer\w+|message\w*|mouse\w+|move\w*|moz\w+|"
    r"ms\w+|offline|online|orientation\w+|page(?:hide|show)|paste|pause|play(?:ing)?|pointer\w+|popstate|progress|property\w+|"
    r"ratechange|readystatechange|rejection\w+|repeat|reset|resize\w*|resume|reverse|row\w+|scroll\w*|search|seek\w*|select\w*|"
    r"show|stalled|start|stop|storage|submit|suspend|syncrestored|time\w+|toggle|touch\w+|trackchange|transition\w+|"
    r"unhandledrejection|unload|url\w+|volumechange|waiting|webkit\w+|wheel|zoom)"
)
_HANDLER_SET = re.compile(rf"(?<![\w-]){_EVENT}[\s/]{{0,8}}=\s{{0,8}}[^\s&]")
_UNQUOTED_BREAK_OUT = re.compile(
    rf"(?:\A|[\"'`\s/>]){_EVENT}[\s/]{{0,8}}=\s{{0,8}}[\"'`]?[^\"'`>\s]{{0,80}}[(`\[\\]"
)
_URL_CONTEXT = re.compile(
    r"\s*(?:[\"'`]?\s*)?(?:view-source:|feed:)?(?:(?:java|vb|live)script:(?:\s{0,4}[^\s\w]|[\w$.]{0,40}[(=\[`+;/.'\"]"
    r"|(?:\s{1,4}|throw\s|new\s|void\s|var\s|with\s?\()[\w$.\s]{0,40}[(=\[`])|data:(?:text/(?:html|xml|"
    r"javascript)|image/svg|application/x(?:html|ml|-javascript))[^,]{0,60},)"
)
_LINK_ASSIGNED = re.compile(
    r"(?:=|\](?:\(|:\s*\(?)|<)\s*[\"'`<]?\s*(?:java|vb)script:|(?:(?:href|src|action|location)\s*[=(]|\]\(|\]:)\s*[\"'`<]?\s*data:text/(?!plain|css)"
)
_SCRIPTING_CSS = re.compile(
    r"style\s{0,8}=\s{0,8}[\"']?[^>=]{0,80}?(?:expression\s{0,8}\(|(?:java|vb)script:|-moz-binding)|:expression\("
)
_SCRIPT_ENTITY = re.compile(r"(?:=|\A)\s{0,9}[\"'`]?&\{[^}]{0,80}[(=]")
_UTF7 = re.compile(r"[+ ]ad[w4]-")
_ENCODED_CALL = re.compile(r"\w&(?:#x0{0,6}28|#0{0,6}40|lpar);?[^&]")
_JS_BREAK_OUT = re.compile(
    r"(?:[\"'`]\s{0,9}(?=\S)[)\]};+\-*/|&^%,?\s]{1,12}|\A\s{0,9}(?:\*/|--!?>)\s{0,9}"
    r"|\A(?:\n|%0a|\s{0,9}[-+;)\]}])[\s()\]};+-]{0,12}|</)"
    r"[\w.\s]{0,20}?\b(?:(?:alert|confirm|prompt|eval|fetch|settimeout|setinterval|import|function|atob|string\.fromcharcode)"
    r"(?:\s{0,4}[(\\]|[`.?\[=;}/])"
    r"|(?:document|window|location|top)(?:\s{0,4}=(?!=)|[.\[][^\s.])|self\s{0,4}\[)"
    r"|[\"'`]\s{0,4}(?:[(=!~<>]{1,4}|in(?:stanceof)?\s)\s{0,4}(?:alert|confirm|prompt|eval)\s{0,4}[(`]"
)
#: What a template engine in the browser evaluates, and the way from any value to ``Function``
#: (https://portswigger.net/research/xss-without-html-client-side-template-injection-with-angularjs).
_TEMPLATE = re.compile(r"constructor[\s\])\"']{0,4}\(\s{0,4}[\"'`]|\$(?:eval|on\.constructor)\s{0,4}\(")
_OPENING = re.compile(r"\{\{|[$#]\{")
_CALL = re.compile(r"\b(?:alert|confirm|prompt|eval|fetch|import|settimeout)\s{0,4}[(`]|\bconstructor\b")
_MARKUP = re.compile(
    r"<!entity\b|<!\[cdata\[|<\?xml-stylesheet|<!attlist|<!doctype[^>]{0,200}\[|<!--\[if|<\?import\b|<%\W{0,4}<"
)


#: A function that is fetched by a made-up name, or fed with decoded text.
_HIDDEN_CALL = re.compile(
    r"\b(?:top|self|window|parent|frames|globalthis|document)\s{0,4}\[[^\]]{1,60}\]\s{0,4}(?:\(|`)"
    r"|\((?:alert|confirm|prompt|eval|print)\)\s{0,4}\("
    r"|\.(?:map|find|filter|some|every|foreach|reduce|sort|call|apply)\s{0,4}\(\s{0,4}(?:alert|confirm|prompt|eval)\b"
    r"|\b(?:this|self|top|parent|frames)\s{0,4}\[\s{0,4}[\"'`](?:alert|eval|document)"
    r"|\beval\s{0,4}\(\s{0,4}(?:atob|unescape|decodeuri\w*|string\.fromcharcode|location|name\b|document|this)"
)
_CALLING = (_JS_BREAK_OUT, _SCRIPTING_CSS, _TEMPLATE, _HIDDEN_CALL)


def is_xss(text: str) -> bool:
    """Whether a (lower-cased) value holds content that a browser would run."""
    if "<" in text and (_active_element(text) or _MARKUP.search(text)):
        return True
    return _outside_elements(text)


def _outside_elements(text: str) -> bool:
    if ":" in text and (_in_url(text) or _LINK_ASSIGNED.search(text)):
        return True
    if "on" in text and "=" in text and (_breaks_out_of_attribute(text) or _UNQUOTED_BREAK_OUT.search(text)):
        return True
    if ("(" in text or "`" in text or "location" in text) and any(shape.search(text) for shape in _CALLING):
        return True
    if "{" in text and _in_template(text):
        return True
    if "&" in text and _ENCODED_CALL.search(text):
        return True
    if "&{" in text and _SCRIPT_ENTITY.search(text):
        return True
    return "ad" in text and bool(_UTF7.search(text))


def _in_template(text: str) -> bool:
    """A call stands in what a template engine would evaluate."""
    calls = islice(_CALL.finditer(text), 32)
    before = (text[max(0, call.start() - 80) : call.start()].rpartition("}")[2] for call in calls)
    return any(map(_OPENING.search, before))


def _breaks_out_of_attribute(text: str) -> bool:
    """A handler is set after a quote that could have closed the attribute around the value."""
    for match in islice(_HANDLER_SET.finditer(text), 32):
        before = text[max(0, match.start() - 200) : match.start()]
        inside = before[max(before.rfind("<"), before.rfind(">")) + 1 :]
        if any(quote in inside for quote in "\"'`"):
            return True
    return False


def _in_url(text: str) -> bool:
    head = text[:200]
    return bool(_URL_CONTEXT.match(head) or _URL_CONTEXT.match(_CONTROLS.sub("", head)))


def _active_element(text: str) -> bool:
    left = 2 * len(text)
    for tag in islice(_TAG.finditer(text), TAGS):
        attributes, read = _attributes(text, tag.end(), left)
        left -= read
        if _is_active(_NAME.sub("", tag[1]), attributes, text, tag.end()):
            return True
    return False


def _is_active(name: str, attributes: list[tuple[str, str]], text: str, at: int) -> bool:
    local = name.rpartition(":")[2]
    if name in _ACTIVE or local in _ACTIVE:
        if _is_end_tag(text, at - len(name)) or (name == "xml" and text[: at - 3].endswith("<?")):
            return False
        return local not in _BY_ATTRIBUTES or bool(attributes)
    if local == "style" and _CSS.search(_plain_css(_up_to_next_tag(text, at))):
        return True
    return any(_is_scripting(name, *attribute) for attribute in attributes)


def _is_end_tag(text: str, name_at: int) -> bool:
    return text[:name_at].rstrip("\x00 \t\r\n\"'").endswith("</")


def _attributes(text: str, at: int, limit: int) -> tuple[list[tuple[str, str]], int]:
    """(name, decoded value) of each up to the end of the tag, and how many characters that took."""
    found: list[tuple[str, str]] = []
    end = at
    for match in _ATTRIBUTE.finditer(text, at, at + max(limit, 0)):
        end = match.end()
        if match[0] in "<>":
            break
        if match[1]:
            found.append((match[1].strip("\"'`\x00"), _plain(match[2] or "")))
    return found, end - at


def _plain(value: str) -> str:
    value = value.strip("\"'`")
    return unescape(value) if "&" in value else value


def unescape(text: str) -> str:
    """A lower-cased text with its character references read (two of their names have capitals)."""
    return html.unescape(text.replace("&tab;", "\t").replace("&newline;", "\n"))


def _up_to_next_tag(text: str, at: int) -> str:
    end = text.find("<", at)
    return text[at : end if end >= 0 else None]


def _plain_css(value: str) -> str:
    if "&" in value:
        value = unescape(value)
    return _CSS_NOISE.sub(lambda m: chr(int(m[1], 16)) if m[1] else "", value)


def _is_scripting(element: str, name: str, value: str) -> bool:
    if name.startswith("on") and value and _HANDLER.match(name):
        return True
    if value and _DIRECTIVE.match(name):
        return True
    if name == "style":
        return bool(_CSS.search(_plain_css(value)))
    if name == "srcdoc":
        return True
    if name == "values":
        return any(map(_leads_to_script, value.split(";")))
    if name == "attributename":
        return value.startswith("on")
    if element == "base" and name == "href":
        # Every relative address of the page, scripts too, leads there from now on.
        return bool(value)
    if name in _URLS or name.endswith(":href"):
        return bool(value) and _leads_to_script(value)
    if element == "meta" and name == "charset":
        return "utf-7" in value or "utf7" in value
    if element == "meta" and name == "http-equiv":
        return value.strip() in ("refresh", "set-cookie", "link")
    return element == "link" and name == "rel" and value.strip() in ("stylesheet", "import")


def _leads_to_script(url: str) -> bool:
    return _SCRIPT_URL.match(_URL_NOISE.sub("", url).lower()) is not None
