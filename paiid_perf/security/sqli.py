"""SQL injection by structure: does a value, put into a statement, add tokens of its own?

A value is read the way a database would read it in three places: bare (a number or an expression), inside
``'…'`` and inside ``"…"``. Each reading is folded into a string with one letter per token (the idea of
libinjection, https://github.com/libinjection/libinjection), and shapes of that string are looked for: an operator
right after the quote that the value closed, a comparison of literals after AND/OR, a second SELECT, a second
statement, a comment that cuts off the rest. Prose fails because two bare words in a row are no SQL.
"""

from __future__ import annotations

import re
from itertools import islice

#: Tokens that one reading takes in (of a value longer than that, other readings start at what looks like SQL).
TOKENS = 256
TOKENS_AT_HINT = 48
HINTS = 6

_DOUBLED_OR_NOT = {quote: re.compile(f"{quote}+") for quote in "'\"`"}
#: Written so that a text matches in one way only, and bounded: ``.*?`` here would take exponential time.
_COMMENT = r"/\*[^*]{0,99}\*+(?:[^/*][^*]{0,99}\*+){0,9}/"
_GAP = rf"(?:\s|{_COMMENT}|(?:--|\#)[^\n]{{0,40}}\n){{1,12}}"

_TOKEN = re.compile(
    rf"""
      --[^\n]* | \#(?![>-])[^\n]* | /\*!\d* | /\*.*?(?:\*/|\Z) | \*/
    | [nx]?'(?:[^'\\]|\\.|'')*(?:'|\\?\Z) | "(?:[^"\\]|\\.|"")*(?:"|\\?\Z) | `[^`]*(?:`|\Z)
    | \$(\w*)\$.*?(?:\$\1\$|\Z)
    | \d+(?:e\d+)?(?=(?:and|or|union|having|order|group|limit)\b)
    | 0x[0-9a-f]+(?!\w) | \d+(?:\.\d*)?e[+-]?\d+ | (?:\d+\.\d*|\.\d+) | \d+(?!\w)
    | @@?[\w.$]+
    | (?:insert|replace|merge){_GAP}into\b | delete{_GAP}from\b | (?:order|group){_GAP}by\b
    | (?:drop|create|alter|truncate|rename){_GAP}(?:temp(?:orary)?{_GAP}|or{_GAP}replace{_GAP})?
      (?:table|database|view|schema|function|procedure|trigger|user|login|role|index|extension|aggregate)\b
    | update{_GAP}[\w.$\[\]"`]+{_GAP}set\b
    | declare{_GAP}(?:@\w+(?:{_GAP}n?(?:var)?char\b)?|\w+{_GAP}(?:cursor|n?(?:var)?char2?|int(?:eger)?|number|text)\b)
    | execute?{_GAP}(?:immediate\b|\w*[sx]p_\w+)
    | exec{_GAP}(?:master\b|@|\w*[sx]p_\w+) | exec(?:ute)?\s*\( | set{_GAP}@+\w+ | waitfor{_GAP}(?:delay|time)\b
    | handler{_GAP}[\w`]+{_GAP}(?:open|read)\b | case{_GAP}when\b
    | truncate{_GAP}\w+\s{{0,9}}(?=;|-|\Z) | kill{_GAP}\d+ | flush{_GAP}(?:tables|privileges|logs|hosts|status)\b
    | (?:lock|analyze){_GAP}tables?\b | reset{_GAP}(?:master|slave|query)\b | set{_GAP}(?:names|global|session|role)\b
    | show{_GAP}(?:tables|databases|columns|grants|variables|processlist|schemas|status)\b
    | explain{_GAP}(?:analyze{_GAP})?select\b | pragma{_GAP}\w+\s*[(=;] | dbcc{_GAP}\w+ | raiserror\s*\(
    | prepare{_GAP}\w+{_GAP}(?:from|as)\b | call{_GAP}[\w.]+\( | shutdown{_GAP}with\b | while{_GAP}\d+\s*=
    | copy{_GAP}[\w.(), ]{{1,60}}{_GAP}(?:from|to){_GAP}(?:'|program\b|std)
    | for{_GAP}(?:update|share|xml|json)\b | lock{_GAP}in{_GAP}share\b
    | into{_GAP}(?:(?:out|dump)file\b|@\w+) | procedure{_GAP}analyse\b | (?:load{_GAP}data|bulk{_GAP}insert)\b
    | (?:backup|restore|attach|detach){_GAP}(?:database|log)\b | do{_GAP}\$\w*\$ | on{_GAP}duplicate{_GAP}key\b
    | (?:grant|revoke){_GAP}[a-z, ]{{2,60}}{_GAP}on\b
    | (?:similar{_GAP}to|sounds{_GAP}like)\b
    | </[a-z][\w-]*\s{{0,9}}>
    | [^\W\d][\w$]*(?:\.[^\W\d][\w$*]*|\.[$*]+)*\s*\(? | [\w$]+
    | \|\| | && | <=> | <> | [<>!]= | ![<>] | := | :: | << | >> | \#>>? | \#- | @> | <@ | -> | \?[|&]
    | [^\s\w]
    """,
    re.X | re.S,
)

#: Letters of the folded string, and the words each stands for. ``w`` are words of English that no table or
#: column is called: they end every shape.
_WORDS: dict[str, str] = {
    "&": "and or xor",
    "U": "union intersect except minus",
    "a": "all distinct top",
    "E": "select",
    "M": "from",
    "H": "where having on",
    "L": "limit offset fetch",
    "l": "like between in",
    "j": "is isnull notnull",
    "R": "rlike regexp ilike glob sounds",
    "o": "div mod collate escape",
    "1": "null true false unknown current_user session_user system_user current_timestamp",
    "D": "exec execute shutdown declare begin if goto copy backup restore grant revoke call vacuum attach commit",
    "": "not binary distinctrow",
    "w": "the a an of to for with this that these those it its he she we you your our my his her their they i "
    "was were be been are has have had will would can could may might should do does did so than then there "
    "here who what which why how about after before more most some any such only also very just but at because",
}
#: SQL functions of the common databases; a call of one of them counts as an operand.
_FUNCTIONS = (
    "abs ascii avg bin bit_length cast ceil char char_length character_length chr coalesce concat concat_ws conv "
    "convert cos count crc32 curdate database date_add elt exists exp export_set field find_in_set floor format "
    "greatest group_concat hex host_name if iif ifnull insert instr is_srvrolemember isnull json_array json_depth "
    "json_extract json_keys json_length json_object json_type json_valid last_insert_id lcase least left len length "
    "listagg ln locate log lower lpad ltrim make_set max md5 mid min mod name_const nullif nvl oct ord pi pow power "
    "quote rand random regexp_like regexp_replace repeat replace reverse right round row_count rpad rtrim "
    "schema sha sha1 sha2 sign sin soundex space sqrt stddev strcmp string_agg substr substring sum suser_name tan "
    "to_base64 to_char translate trim trunc typeof ucase unhex unicode upper user user_name uuid version xmltype "
    "current_database current_schema current_setting db_name array_agg array_to_json row_to_json json_agg "
    "sqlite_version stragg aes_decrypt aes_encrypt compress des_decrypt encode decode encrypt old_password password "
    "polygon linestring multipoint geometrycollection st_astext gtid_subset point row any some all"
)
#: Functions whose only use in a value is to wait, to raise, to read files or to ask the server about itself.
_ATTACKS = re.compile(
    r"(?:sleep|pg_sleep\w*|benchmark|randomblob|load_file|load_extension|lo_(?:import|export|get|put)|dblink\w*"
    r"|extractvalue|updatexml|query_to_xml|database_to_xml|pg_(?:read|ls|stat)_\w+|fn_\w+|openrowset|opendatasource"
    r"|xp_\w+|sp_\w+|sys_(?:eval|exec)|get_lock|sys_context|json_query_to_\w+"
    r"|(?:sys\.)?(?:utl|dbms|ctxsys|ordsys|owa|httpuritype)[\w$]*(?:\.[\w$.]+)?)\Z"
)
_CATALOGUE = re.compile(
    r"(?:information_schema|pg_catalog|sysibm|syscat|sys|mysql|performance_schema|master)\.[\w$.*]+\Z"
    r"|(?:pg_(?:class|user|shadow|database|tables|authid|roles|stat\w+)|sys(?:objects|columns|users|databases|tables|logins|"
    r"processes)|sqlite_(?:master|schema)|msysobjects|rdb\$\w+|(?:all|user|dba)_(?:tables|users|tab_columns|objects)"
    r"|v\$\w+|dual)\Z"
)
_PROSE = re.compile(r"[.,:;!?)]?\s+[a-z]{2,}")
_LEADING_WORD = re.compile(r"[a-z]+")
_PROCEDURE = re.compile(r"\s\w*[sx]p_\w+\Z|@\w+\s+\w*char\Z")
_HEADS: dict[str, str] = {
    **dict.fromkeys(
        [
            *("insert", "replace", "merge", "delete", "update", "load", "bulk", "copy"),
            *("drop", "create", "alter", "truncate", "rename", "analyze", "lock"),
            *("declare", "set", "exec", "execute", "prepare", "call", "do", "while", "raiserror"),
            *("backup", "restore", "attach", "detach", "shutdown", "kill", "flush", "reset", "dbcc"),
            *("grant", "revoke", "handler", "show", "explain", "pragma"),
        ],
        "Z",
    ),
    **dict.fromkeys(["on", "into", "procedure", "for"], "Y"),
    **dict.fromkeys(["order", "group"], "r"),
    **dict.fromkeys(["similar", "sounds"], "l"),
    "waitfor": "W",
    "case": "fH",
}
_COMPARISONS = "= <> != < > <= >= <=> !< !> @> <@ := =="
_OPERATORS = "+ - * / % ^ ~ | & << >> -> #> #>> #- ?| ?& ! ?"
_PUNCTUATION = {"||": "|", "&&": "&", "(": "(", ")": ")", ",": ",", ";": ";", "*/": "", "::": ":"}
_SYMBOLS = dict.fromkeys(_COMPARISONS.split(), "=") | dict.fromkeys(_OPERATORS.split(), "o") | _PUNCTUATION
_LETTERS: dict[str, str] = {
    word: letter for letter, words in _WORDS.items() for word in words.split()
} | _SYMBOLS
_CALLS: dict[str, str] = dict.fromkeys(_FUNCTIONS.split(), "f")
_SHORT_COMMENT = re.compile(r"[-#\s/*+;]*\S{0,12}[\s-]*\Z")


def _string(token: str) -> str:
    quote = token[-1] if len(token) > 1 else ""
    body = token.lstrip("nx")
    if quote and quote in "'\"`" and body[0] == quote:
        return "s"
    # A quote that opens before a space and a word is the end of a quotation, not the start of a literal.
    return "p" if _PROSE.match(body, 1) else "S"


def _comment(token: str) -> str:
    if token.startswith("/*!"):
        return "!"
    if token.startswith("/*") and token.endswith("*/"):
        return ""
    return "c" if _SHORT_COMMENT.match(token, 2 if token[0] != "#" else 1) else "C"


def _word(token: str) -> str:
    """A letter for a word, with ``(`` after it where the word calls something."""
    if token[-1] != "(":
        token = token.rstrip()
        letter = _LETTERS.get(token)
        return letter if letter is not None else "T" if _CATALOGUE.match(token) else "n"
    name = token[:-1].rstrip()
    if name == "in":
        return "l("
    if _ATTACKS.match(name):
        return "X(" if len(name) == len(token) - 1 else "x("
    letter = _CALLS.get(name) or _LETTERS.get(name)
    if letter is not None:
        return letter + "("
    return "g(" if len(name) == len(token) - 1 else "n("


def _letter(token: str) -> str:
    known = _LETTERS.get(token)
    if known is not None:
        return known
    first = token[0]
    if first.isalpha() or first == "_":
        if token[-1] in "'" and first in "nx" and token[1:2] == "'":
            return _string(token)
        head = _LEADING_WORD.match(token)
        if head and head[0] in _HEADS and _is_head(token, head[0]):
            return "X" if _PROCEDURE.search(token) else _HEADS[head[0]]
        return _word(token)
    if first in "'\"`":
        return _string(token)
    if first.isdigit() or (first == "." and len(token) > 1):
        return "1" if token[-1].isdigit() or token[:2] == "0x" or not token.isalnum() else "n"
    if first == "@":
        return "v"
    if token[:2] in ("--", "/*") or first == "#":
        return _comment(token)
    return "s" if first == "$" and len(token) > 1 else "p"


def _is_head(token: str, head: str) -> bool:
    rest = token[len(head) :]
    if rest.strip() == "(":
        return head in ("exec", "execute", "raiserror")
    return bool(rest.strip()) and (rest[0].isspace() or rest[0] == "/")


_FOLDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[cC](?=.)"), ""),
    (re.compile(r"w(?==)|(?<==)w"), "n"),
    (re.compile(r"\(+E"), "Q"),
    (re.compile(r"[()]"), ""),
    (re.compile(r":[ng]"), ""),
    (re.compile(r"\Ao(?=1)"), ""),
    (re.compile(r"(?<=[=o&|,EQHRlj;L])o+(?=[1svnfgXSQ])"), ""),
    (re.compile(r"(?<=[&=|,])!(?=[1svnfgXS])"), ""),
)


def fold(text: str, at: int = 0, tokens: int = TOKENS) -> str:
    """The value's first tokens from ``at`` on, one letter each, parentheses and unary operators dropped."""
    letters = "".join([_letter(match[0]) for match in islice(_TOKEN.finditer(text, at), tokens)])
    for pattern, by in _FOLDS:
        letters = pattern.sub(by, letters)
    return letters


#: Shapes that mean injection wherever they stand.
_ANYWHERE = re.compile(
    r"""
      U!?a?!?[EQ]!?a?(?:[1svSfXoTg]|n+[,Mo]|n?\Z|nC)     # a second SELECT
    | H[1svX][=R][1svSfgXnQl] | &[1svX][=R][SfgXQl] | &(?:[1svX][=R][1sv]|[1vX][=R]n)(?![nwgp])
    | [&H][1sv]l[1svSfX]                                   # AND 1=1, but no sentence
    | [&H](?:f[^;&wCn]{0,30}n?[^;&wCn]{0,8}|g[1sv,]{0,9})[=Rlj][1svSfgXQ]
    | [&H]n[=lR]S\Z | [&H]1=\Z
    | ;(?:D?Z|D[fXQ]|[Df]1=1[EZDWX]|Q|E(?:[1svfXoQ]|n(?:[,o]|M[^w]))|W)
    | W[1sSv] | Y[sS1fX] | Y\Z | Ynn=
    | (?:[=o&|,;EQHsS1UlRLr]|\A)X(?!n[&wln])
    | [&H]1j1(?![nw])                                      # AND 1 IS NOT NULL
    | [=o&|,;EQHsS1UlRL]x(?:[SfXEQ]|[1sv](?![nw]))          # a call that waits, raises or reads
    | Qa?(?:[1svfXoQU]|[ng](?:o[1nsg])?(?:[,][^w]|M[^w]))
    | ![EUZ&fQX]
    | (?:\A|[EnfQ,1])M T?T.*[Hcl]
    | (?:\A|[1sn])R[1sS]
    | \A[1svfXEQUa=RloHL&|,jg]*[&EQR][1svfXEQUa=RloHL&|,jg]*c\Z   # a whole expression, the rest cut off
    """.replace("M T?T", "MT"),
    re.X,
)
#: Shapes of a value that stands bare in a statement: it starts as an operand and goes on.
_BARE = re.compile(
    r"""
      \A[1sv]\|[1sv]=[1sv] | \A[1v]&1(?:o1)+[=R][1sv]
    | \A[1svS]?[&|](?:g[1svf,]{1,20}\Z|n[=R][1svSfX]|nl[sS1]|nj1|f.*[=Rlc]|[fX][\w,]*\Z|s[o=][sS])
    | \A[1sv](?:o[1sv])*[rHL][1fvX][^nw]*[c;UH]
    | \A1(?:o1)*Z | \A1(?:o1)+U\Z | \A[1s]Un1,1
    | \A[1sv][;]?c?U[aEQ]
    | \A[1sv]?[&|][1sv];?c\Z
    | \A(?:1o){0,3}f[1s]=[1s],[1snf],[1snf] | \Af[1s]=[1s][EQ]1
    | \A1of{2,9}[1svnQ,]{1,30}=[1sv]                       # 1 ^ (ascii(substr(…)) > 100)
    | \A1(?:o1)*Y | \A1(?:o1)*Unf1,                     # INTO OUTFILE, UNION VALUES ROW(1,
    """,
    re.X,
)
#: Shapes of a value that has just closed the quote around it (the closing string is the first letter).
_BROKEN_OUT = re.compile(
    r"""
      \As[&|][1svX](?:\Z|[=Rlco&|;UHLrj,])
    | \As[&|][fQX] | \As&S\Z
    | \As,n=[sS1f] | \As(?:,[1svfXg]){2,},?S\Z | \As[o|][fX][^wp]{0,40}S\Z
    | \As[&|](?:gn?|n)(?:[=R]|l[1sSvf]|j|;?c|o[1sS]) | \As[&|];?c
    | \As[|=Rl][^nwp]*S\Z | \As\|n\|S\Z | \Ason[=R]S\Z
    | \Aso[^nwp]*[=&fgQvX][^nwp]*S\Z
    | \As;?c\Z
    | \As[^nwCps1][^wCp]{0,40}c\Z
    | \As;?(?:Z|W|X|D[fXQ1vZW]) | \As;D | \AsY
    | \Asr(?:[1fv]|n[,cS;]) | \As[HL][1fv](?![nw]|&[nw])
    | \As(?:[o|]1){1,3}[o|]S\Z
    | \As[;]?[UE](?:a(?:[E!]|\Z)|Q|E)
    """,
    re.X,
)
#: What follows a quote that closes a value: an operator, a clause, a comment, another statement.
#: Sums and comparisons alone, or at the end of a sentence about numbers.
_TERM = r"f?[1n](?:,[1n])*(?:of?[1n](?:,[1n])*)*"
_MATHS = re.compile(rf"\A(?:.*[nw]{{2}}p?)?{_TERM}(?:={_TERM})+(?:&{_TERM}(?:={_TERM})+)+\Z")
#: Quotations one after the other, as a sentence has them.
_QUOTATIONS = re.compile(r"\As(?:[&,]s)+[op]?\Z")
#: What is true of any row although nothing is compared: ``1 or id=id``, ``1 or not 0``.
_TAUTOLOGY = re.compile(
    r"\b(?:or|and|xor)[\s(]{1,9}([a-z_][\w.]{0,40})\s{0,9}=\s{0,9}\1(?![\w.(])"
    r"|\A[\s'\"]{0,4}-?\d{1,12}[\s'\")]{1,9}(?:or|and|xor)(?:(?:\s{1,9}not\s{1,9}|\s{0,9}[!~])[\s!~(]{0,9}\d|[\s(]{1,9}(?:true|false|null)\s{0,9}(?:\Z|--|\#))"
)
#: Nothing but an operator between quotes, which turns a comparison of texts into arithmetic: ``'-'``.
_QUOTED_OPERATOR = re.compile(r"\A\s{0,9}(['\"])\s{0,9}[-+*/^&|%=<>]{1,3}\s{0,9}\1[\s#;-]{0,9}\Z")
#: Words that only a comment keeps apart.
_OBFUSCATED = re.compile(
    r"/\*[^*]{0,40}\*/\s{0,9}(?:and|or|xor|union|select|like|having|order|group|limit|from|where)\b\s{0,9}/\*"
)
_CONTINUES = re.compile(
    rf"(?:[\s)]|{_COMMENT}){{0,40}}(?:\Z|[-+*/|&=<>;,#~^%!@(]|(?:and|or|xor|like|not|is|in|between|union|except|minus|"
    r"intersect|having|where|order|group|limit|offset|into|procedure|rlike|regexp|div|mod|collate|exec|execute|waitfor|"
    r"select|insert|update|delete|drop|declare|begin|goto|if|sounds|similar|glob|ilike|as|from|on\s{1,9}(?:conflict|duplicate)|returning|for|lock)\b)",
    re.S,
)
_HINT = re.compile(
    r"union|select|sleep|benchmark|waitfor|outfile|dumpfile|analyse|/\*!|regexp|rlike|having|"
    r"(?:extractvalue|updatexml|load_|utl_|dbms_|xp_|sp_|pg_|lo_|dblink|randomblob|information_schema|exec)"
    r"|\b(?:or|and)\s{1,9}(?:true|false|null)\b|\d\s{0,4}[-+*/%^|&]\s{0,4}\(\s{0,4}(?:[a-z_]{2,20}\s{0,2}\(){2}"
    rf"|(?:\b|(?<=\d))(?:and|or|xor|where|when)\b(?:[\s(!~+-]|(?:\#|--)[^\n]{{0,40}}\n|not\b|binary\b|{_COMMENT}){{0,12}}(?:[\d'\"@`.]|[\w.]+[\s)]*(?:[=<>(!~]|\b(?:like|is|"
    r"in|between|not|regexp|rlike)\b))"
    r"|(?:&&|\|\|)|;\s*(?:drop|create|alter|truncate|insert|update|delete|declare|set|exec|merge|begin|if|grant|revoke|shutdown|do|backup|attach|handler|prepare|call|copy|kill|flush|lock|analyze|reset|show|explain|pragma|dbcc|raiserror|while|rename|load|bulk|backup)\b|\bi?if\s{0,4}\(\s{0,4}[\d'\"]"
    r"|\A\s{0,8}-?\d{1,12}\W{1,8}(?:order|group|update|insert|delete|limit)\b|like|\bnot\s+in",
    re.S,
)
#: An operator that is spoken of: the word "or".
_MENTIONED = re.compile(
    r"(?<![^\s(])(['\"])(?:and|or|xor|not|like|in|is|between|union|select|where|having|exec|if|=|==|!=|<|>)\1(?=[\s.,:?)]|\Z)(?!\s*(?:['\"\d(=]|\Z))"
)
#: A quotation in a sentence, which goes on with a word that no statement would: the docs say "update … set" is.
_QUOTATION = re.compile(
    r"(?<=[a-z,:]\s)(['\"])(?=[a-z])[^'\"#;]{3,200}\1(?=\s{1,9}(?!(?:and|or|xor|r?like|regexp|in|is\s{1,9}(?:not|null|true|false)|between|"
    r"not|null|union|except|minus|intersect|having|where|order|group|limit|offset|into|procedure|collate|from|as|then|else|"
    r"when|end|for|div|mod|sounds|asc|desc)\b)[a-z]{2,})"
)
#: What stands before an operator that is spoken of at the end: unexpected token '<'
_SENTENCE = re.compile(r"(?:[a-z]{2,}[:,]?\s{1,4}){3}\Z")
_OPERATOR_ALONE = re.compile(r"\As[=o|]S\Z")
#: A link within a page, or a colour, in an attribute.
_FRAGMENT = re.compile(r"=\s{0,3}(['\"])#[\w-]{0,60}\1")
#: A quotation as old manuals print it: `like this'.
_OLD_QUOTATION = re.compile(r"`([\w.,+*/:<> -]{1,60})'(?!')")
#: Control characters that SQL Server takes for spaces.
_SPACE = re.compile(r"[\x01-\x08\x0e-\x1f]")
_QUOTES = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´ʼ＇`", "'"),
        **dict.fromkeys("“”„‟″＂", '"'),
        **dict.fromkeys("–—", "--"),
        # Also what stands for a byte that is no UTF-8, such as Latin-1's hard space.
        **dict.fromkeys("\xa0\ufffd", " "),
    }
)


def is_sqli(text: str) -> bool:
    """Whether a (lower-cased, decoded) value changes the tokens of a statement it is put into."""
    if not text.isascii():
        text = text.translate(_QUOTES)
    if not text.isprintable():
        text = _SPACE.sub(" ", text)
    if "'" in text or '"' in text:
        text = _QUOTATION.sub("it", _MENTIONED.sub("it", text))
        text = _FRAGMENT.sub("=it", text) if "#" in text else text
    if "`" in text and "'" in text:
        text = _OLD_QUOTATION.sub(r'"\1"', text)
    return (
        _stands_bare(text)
        or ("/*" in text and _OBFUSCATED.search(text) is not None)
        or any(_breaks_out(text, quote) for quote in ("'", '"', "`") if quote in text)
        or _QUOTED_OPERATOR.match(text) is not None
    )


def _stands_bare(text: str) -> bool:
    """Read from the start, and again from hints that lie beyond what one reading takes in."""
    hint, beyond = _HINT.search(text), 0
    if hint is None:
        return False
    letters = fold(text)
    if _MATHS.match(letters):
        return False
    if _ANYWHERE.search(letters) or _BARE.search(letters) or _TAUTOLOGY.search(text):
        return True
    for _ in range(HINTS):
        hint = _HINT.search(text, max(beyond, TOKENS))
        if hint is None:
            return False
        if _ANYWHERE.search(fold(text, hint.start(), TOKENS_AT_HINT)):
            return True
        beyond = hint.start() + TOKENS_AT_HINT
    return False


def _breaks_out(text: str, quote: str) -> bool:
    closing = _closing_quote(text, quote)
    if closing < 0 or not _CONTINUES.match(text, closing + 1):
        return False
    if closing == 0 and _QUOTATIONS.match(fold(text)):
        return False
    rest = text[closing + 1 :]
    letters = fold("'' " + rest)
    if letters[-1:] == "S" and quote not in rest:
        # Opened by another kind of quote, it does not take up the one that the statement closes with: 6' 2".
        letters = letters[:-1] + "p"
    if _OPERATOR_ALONE.match(letters) and _SENTENCE.search(text, max(0, closing - 120), closing):
        return False
    return bool((quote != "`" and _BROKEN_OUT.search(letters)) or _ANYWHERE.search(letters))


def _closing_quote(text: str, quote: str) -> int:
    """Where the value closes the quote it stands in; a doubled quote does not. -1: nowhere."""
    for match in _DOUBLED_OR_NOT[quote].finditer(text):
        if len(match[0]) % 2:
            return match.end() - 1
    return text.rfind(quote) if quote != "`" else -1
