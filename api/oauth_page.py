"""The pages on which connecting a service by consent ends: small, on their own, and kept by nobody."""

import secrets
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

import orjson
from starlette.responses import HTMLResponse

DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style nonce="{nonce}">
body {{ font: 1.125rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 20vh auto 0; padding: 0 1rem }}
:root {{ color-scheme: light dark }}
</style>
</head>
<body>
<main role="status">
<h1>{title}</h1>
{paragraphs}
{form}</main>
<script nonce="{nonce}">
{script}
</script>
</body>
</html>
"""

# To pages that may call the API, and to our own origin: the browser gives it to the one that opened this window.
TELL = """
const told = %s;
if (window.opener) {
  for (const origin of [...told.origins, location.origin]) window.opener.postMessage(told.message, origin);
}
"""

# What came back is worth a login until it is used: it goes from the address at once, so that no history keeps it.
BLANK = """
const came = location.href;
history.replaceState(null, "", location.pathname);
"""

# A fragment never reaches a server by itself: the form takes it along. Where there is none, it has nothing to ask.
FRAGMENT = """
const given = new URLSearchParams(new URL(came).hash.slice(1));
given.delete("state");
const form = document.forms[0];
for (const [name, value] of given) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name, value });
  form.append(field);
}
form.hidden = ![...given].length;
"""

AGAIN = "setTimeout(() => document.forms[0].submit(), 2000);"

# To this very address, without its query.
FORM = """<form method="{method}" action="?"{hidden}>
{fields}
<button>Connect</button>
</form>
"""
FIELD = '<input type="hidden" name="{name}" value="{value}">'


def form(values: Mapping[str, str], *, method: Literal["get", "post"], hidden: bool = False) -> str:
    """A button that sends `values` to the page's own address; where it is hidden, a script does."""
    fields = "\n".join(FIELD.format(name=escape(name), value=escape(value)) for name, value in values.items())
    return FORM.format(method=method, fields=fields, hidden=" hidden" if hidden else "")


def page(title: str, *paragraphs: str, status: int, asks: str = "", script: str = "") -> HTMLResponse:
    """A page that says this much, with the form that it `asks` by.

    What `script` does is ours: nothing of a request is in it.
    """
    nonce = secrets.token_urlsafe(16)
    text = DOCUMENT.format(
        title=escape(title),
        paragraphs="\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs),
        form=asks,
        nonce=nonce,
        script=BLANK + script,
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        text,
        status_code=status,
        headers={
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


def telling(message: dict[str, Any], origins: Sequence[str]) -> str:
    """A script that gives `message`, which holds no secret, to the window that opened this one."""
    told = {"message": message, "origins": [origin for origin in origins if origin != "*"]}
    return TELL % orjson.dumps(told).decode().replace("<", "\\u003c")
