"""The browser of a user who agreed on a service's page, sent back to us."""

import re
from html import unescape

import httpx

FORM = re.compile(r'<form method="post" action="\?"(?P<hidden>| hidden)>(?P<fields>.*?)</form>', re.DOTALL)
FIELD = re.compile(r'<input type="hidden" name="(.*?)" value="(.*?)">')


def asked(page: httpx.Response) -> dict[str, str] | None:
    """What the page's button would post; None where it has none."""
    form = FORM.search(page.text)
    if form is None:
        return None
    return {unescape(name): unescape(value) for name, value in FIELD.findall(form["fields"])}


async def come_back(http: httpx.AsyncClient, location: httpx.URL | str) -> httpx.Response:
    """Open the address, and press the button if there is one. What is in a fragment the page's script adds to it."""
    url = httpx.URL(location)
    page = await http.get(url.path, params=url.params)
    posts = asked(page)
    if posts is None:
        return page
    return await http.post(url.path, data=posts | dict(httpx.QueryParams(url.fragment)))
