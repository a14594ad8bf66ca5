"""Where services send what their users agreed to."""

from starlette.datastructures import URL

from domain.settings import settings

PATH = "/oauth/callback"
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def callback_url(asked: URL) -> str | None:
    """The redirect URI, which is registered at services: SLUICE_PUBLIC_URL and the path.

    Without it the address that was `asked`, on this machine only: behind a proxy it would be another than users see.
    """
    public_url = settings().public_url
    if public_url is not None:
        return f"{public_url}{PATH}"
    if asked.hostname not in THIS_MACHINE:
        return None
    return f"{'https' if asked.is_secure else 'http'}://{asked.netloc}{PATH}"
