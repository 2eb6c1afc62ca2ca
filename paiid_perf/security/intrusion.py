"""What is aimed at the file system, a shell or a template engine behind the view, by structure.

Paths that climb to a known target, a shell's separator with a command and an argument of its kind after it, an
expression in a template's brackets that computes or reaches for an interpreter's insides. A name alone is never
enough: prose holds ``../`` and ``;`` and ``{{ name }}`` (CWE-22, CWE-78, CWE-1336).
"""

from __future__ import annotations

import re

_UP = r"(?:\.{2,4}[/\\;]{1,3})"
#: Files that are read to see whether it works, or for what they hold.
_TARGET = (
    r"(?:etc[/\\]{1,2}(?:passwd|shadow|group|hosts|issue|motd|sudoers|ssh|mysql|nginx|apache\d?)\b|proc[/\\]{1,2}(?:self|\d{1,7}|version|"
    r"cmdline|environ)\b|var[/\\]{1,2}(?:log|www)[/\\]|root[/\\]\.|(?:windows|winnt)[/\\]{1,2}(?:win\.ini|system32|system\.ini|repair|"
    r"php\.ini)|boot\.ini|web-inf[/\\]|web\.config|wp-config\.php|\.env\b|\.git[/\\]|\.ssh[/\\]|\.aws[/\\]|\.htpasswd|\.htaccess|"
    r"settings\.py\b|id_rsa\b|config\.(?:php|inc))"
)
_TRAVERSAL = re.compile(
    rf"(?:\A|[^\w.]|\b[\w.]{{1,60}}[/\\]){_UP}(?:{_UP}{{3,60}}|{_UP}{{0,60}}[/\\]{{0,2}}(?:[\w.-]{{1,40}}[/\\]){{0,3}}{_TARGET})"
    rf"|\A\s{{0,9}}(?:file:[/\\]{{0,3}}|[a-z]:)?[/\\]{{1,3}}{_TARGET}"
    r"|\b(?:php|zip|phar|expect|glob|gopher|dict)://(?:filter|input|stdin|fd|[\w.]{1,40}[:/])"
    r"|\bfile:///?(?:etc|proc|c:|root|var)\b|%c0%ae|%c1%9c|%c0%af"
)
_END = r"(?=\s{0,4}(?:\Z|[;|&#`)>\n]))"
_SPACE = r"(?:\s{1,4}|\$\{?ifs\}?(?:\$\d)?|<|%09)"
_PLACE = r"['\"]{0,2}(?:[/\\~.$]|[a-z]:\\|\*)"
_OPTIONS = r"(?:-\w{1,12}\s{1,4}\S{0,60}?\s{0,4}){0,3}"
_HOST = rf"{_OPTIONS}['\"]?(?:https?:|ftp:|//|\d{{1,3}}\.\d{{1,3}}\.|[\w-]{{1,40}}\.[a-z]{{2,}}|\$\(|`)"
#: A program as shells are told to run it, with the kind of argument that only it takes.
_PROGRAM = (
    r"(?:/(?:usr/)?s?bin/|\\)?(?:"
    rf"(?:cat|tac|nl|more|less|head|tail|strings|type|xxd|od|base64|ls|dir|find|chmod|chown|touch|rm|cp|mv){_SPACE}(?:-\w{{1,12}}{_SPACE})?{_PLACE}"
    rf"|(?:ls|uname|ps|netstat|rm|id){_SPACE}-\w{{1,6}}\b"
    rf"|(?:whoami|uname|ifconfig|ipconfig|systeminfo|printenv|phpinfo\(\)){_END}"
    rf"|(?:sleep|timeout){_SPACE}(?:/t\s)?\d{{1,4}}{_END}"
    rf"|(?:wget|curl|nslookup|dig|host|nc|ncat|telnet|ftp|scp|certutil|bitsadmin){_SPACE}{_HOST}"
    rf"|(?:nc|ncat){_SPACE}-\w{{1,6}}\b|ping{_SPACE}(?:-\w\s{{0,2}}\d|{_HOST})"
    rf"|(?:ba|z|k|da|c)?sh{_SPACE}-[ci]\b|(?:python|perl|ruby|node|php)[\d.]{{0,4}}{_SPACE}-[cer]\b"
    r"|powershell(?:\.exe)?\s{1,4}[-/(\"]|cmd(?:\.exe)?\s{1,4}/[ck]\b|net\s{1,4}(?:user|localgroup)\b|echo\s{1,4}[^\s;|&]{1,60}\s{0,4}(?:>|\|\s{0,4}(?:ba)?sh\b)"
    r")"
)
_COMMAND = re.compile(
    rf"(?:;|\|\|?|&&?|\n|\$\(|[<>]\(|(?:\A|(?<=[=;|&\"']))`)\s{{0,4}}{_PROGRAM}"
    rf"|(?:\A`?|[;|&]|\$\()\s{{0,4}}(?:id|ls|pwd|env|dir|whoami)\s{{0,4}}(?:`|\)\s{{0,2}}\Z|;\s{{0,2}}\Z|\|\||&&|#\s{{0,2}}\Z)"
    r"|\A[\w.'\"-]{0,40}\s{0,4}(?:;|\|\|?|&&?|\$\()(?:id|ls|pwd|env|dir)\s{0,4}\)?\Z"
    r"|\A\(\)\s{0,4}\{\s{0,4}:?;?\s{0,4}\}\s{0,4};|\$\{ifs\}|/dev/tcp/|/bin/(?:ba)?sh\b.{0,4}-[ci]\b"
)
#: An expression in the template languages of Python, Java, Ruby, PHP and JavaScript.
_EXPRESSION = re.compile(r"(?:\{\{|[$#*@%]\{|\{%|<%=?|\[\[(?=[^\]]{0,200}\]\]))([^}%>]{0,200})")
#: What in it computes, or reaches for the interpreter's insides.
_COMPUTES = re.compile(
    r"(?:(?<![\w.])\d{1,9}\s{0,4}\*{1,2}\s{0,4}['\"]?\d{1,9}|__(?:class|mro|base|bases|subclasses|globals|builtins|init|import|"
    r"dict|getattribute)__|\bconfig\.(?:items|from_\w+|__)|\|\s{0,4}attr\s{0,4}\(|java\.(?:lang|io|util)\b|\bgetclass\s{0,4}\(|"
    r"\bfreemarker\.|\?new\s{0,4}\(|_self\.env|\bgetruntime\b|\bt\s{0,4}\(\s{0,4}java|\b(?:system|passthru|popen|shell_exec|proc_open)\s{0,4}\(|"
    r"\brequire\s{0,4}\(\s{0,4}['\"]child_process|\bprocess\.(?:mainmodule|binding)|\bself\._templatereference|\b(?:lipsum|cycler|joiner|"
    r"url_for|get_flashed_messages)\.__|\bfilter\s{0,4}\(\s{0,4}['\"](?:system|exec|passthru)|\['(?:system|id)'\s{0,4}\|)"
)
_TEMPLATE = re.compile(
    r"\$\{(?:jndi|\$\{(?:lower|upper|env|::)[^}]{0,20}\}?)[^}\s]{0,40}:|\$\{\$\{(?:lower|upper|env|::-)"
    r"|#set\s{0,4}\(\s{0,4}\$\w{1,20}\s{0,4}=[^)]{0,80}(?:class|\d\s{0,4}\*\s{0,4}\d)|\{php\}|%\{\(#|\(#_memberaccess|@java\.lang\."
    r"|\{%\s{0,4}(?:debug|import\s{1,4}os\b|load\s{1,4}log\b|include\s{1,4}['\"]/)"
)


def is_traversal(text: str) -> bool:
    """Whether a (lower-cased) value climbs out of a directory, or names a file that only an attacker asks for."""
    near = ".." in text or "/" in text or "\\" in text or "%c" in text
    return near and _TRAVERSAL.search(text) is not None


def is_command(text: str) -> bool:
    """Whether a (lower-cased) value ends a shell's command and begins another."""
    return _COMMAND.search(text) is not None


def is_template(text: str) -> bool:
    """Whether a (lower-cased) value holds an expression that a template engine would compute."""
    opens = "{" in text or "<%" in text or "[[" in text or "#" in text
    if not opens:
        return False
    return _TEMPLATE.search(text) is not None or any(
        _COMPUTES.search(text, *expression.span(1)) for expression in _EXPRESSION.finditer(text)
    )
