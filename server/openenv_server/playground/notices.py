"""Small pages of the playground: it starts, it asks for the key, the server does not answer."""

from __future__ import annotations

from html import escape
from string import Template

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · OpenEnv</title>
<style>
  body { font: 17px/1.6 system-ui, sans-serif; max-width: 26rem; margin: 16vh auto; padding: 0 1.5rem;
         color: #1d2330; background: #fbfbfd }
  h1 { font-size: 1.6rem }
  label { display: block; font-size: .9rem }
  input, button { font: inherit; padding: .5rem .8rem; border-radius: .5rem; border: 1px solid #cfd6e4;
                  background: inherit; color: inherit; box-sizing: border-box; width: 100%;
                  margin-bottom: .6rem }
  button { background: #1d4ed8; border-color: #1d4ed8; color: #fff; cursor: pointer }
  .bad { border-left: 4px solid #dc2626; padding-left: .7rem }
  @media (prefers-color-scheme: dark) {
    body { color: #e8ecf4; background: #14171f } input { border-color: #3a4356 } }
</style>
<h1>$title</h1>
$body
</html>
""")


def notice_page(title: str, body: str) -> str:
    """Return a page.

    Args:
        title: Its title, as text.
        body: What is below, as HTML.
    """
    return _PAGE.substitute(title=escape(title), body=body)
