"""The landing page at ``/``."""

from __future__ import annotations

from html import escape
from string import Template

_MISSING = (
    '<p class="what">To play it in the browser, install the playground beside the server: <code>{}</code></p>'
)
_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$name · OpenEnv</title>
<style>
  body { font: 17px/1.6 system-ui, sans-serif; max-width: 44rem; margin: 12vh auto; padding: 0 1.5rem;
         color: #1d2330; background: #fbfbfd }
  h1 { font-size: 2.2rem; margin-bottom: .2rem }
  p.what { color: #5a6478; margin-top: 0 }
  pre { background: #1d2330; color: #e8ecf4; padding: 1rem 1.2rem; border-radius: .6rem; overflow-x: auto }
  nav a { display: inline-block; margin: 0 .6rem .6rem 0; padding: .45rem .9rem; border-radius: .5rem;
          border: 1px solid #cfd6e4; color: inherit; text-decoration: none }
  nav a:hover { border-color: #1d2330 }
  nav a.first { background: #1d4ed8; border-color: #1d4ed8; color: #fff }
  @media (prefers-color-scheme: dark) {
    body { color: #e8ecf4; background: #14171f } p.what { color: #9aa5bb } pre { background: #1f2430 }
    nav a { border-color: #3a4356 } nav a:hover { border-color: #e8ecf4 } }
</style>
<h1>$name</h1>
<p class="what">$description</p>
<p>This is an OpenEnv environment server. It is a <code>gymnasium.Env</code> for whoever connects:</p>
<pre>import gymnasium as gym, openenv_gym

env = gym.make("openenv/remote", base_url="<span id="url">http://this-server</span>")
observation, info = env.reset(seed=7)</pre>
<nav>
  $playground
  <a href="docs">API documentation</a>
  <a href="schema">Schemas</a>
  <a href="metadata">Metadata</a>
  <a href="health">Health</a>
</nav>
$install
<script>document.getElementById("url").textContent = location.href.replace(/[/](web)?$$/, "")</script>
</html>
""")


def landing_page(name: str, description: str, *, has_playground: bool = False, install: str = "") -> str:
    """The landing page as HTML.

    Args:
        name: The environment's title.
        description: What it is.
        has_playground: Whether to link to the playground.
        install: The command that installs the playground, if it is missing.
    """
    return _PAGE.substitute(
        name=escape(name),
        description=escape(description),
        playground='<a class="first" href="web/">Playground</a>' if has_playground else "",
        install=_MISSING.format(escape(install)) if install else "",
    )
