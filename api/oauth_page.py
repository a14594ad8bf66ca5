"""The pages on which connecting a service by consent ends: small, on their own, and kept by nobody."""

import secrets
from collections.abc import Sequence
from html import escape
from typing import Any

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
</main>
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

# A fragment never reaches a server by itself. It goes from the address at once, so that no history keeps it.
FORWARD = """
const given = new URLSearchParams(location.hash.slice(1));
const asked = new URLSearchParams(location.search);
history.replaceState(null, "", location.pathname);
if ([...given].length) {
  if (asked.has("state")) given.set("state", asked.get("state"));
  const form = document.createElement("form");
  form.method = "post";
  for (const [name, value] of given) {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name, value });
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}
"""

AGAIN = "setTimeout(() => location.reload(), 2000);"


def page(title: str, *paragraphs: str, status: int, script: str = "") -> HTMLResponse:
    """A page that says this much. What `script` does is ours: nothing of a request is in it."""
    nonce = secrets.token_urlsafe(16)
    text = DOCUMENT.format(
        title=escape(title),
        paragraphs="\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs),
        nonce=nonce,
        script=script,
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
