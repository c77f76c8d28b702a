"""A page of a few words before or beside the program's own: what somebody sees who is not in.

Knows how such a page looks; refuses to know what it says.
"""

from __future__ import annotations

from starlette.responses import HTMLResponse, Response

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title} · Playground</title>
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif;
         background: light-dark(#fafafa, #18181b); color: light-dark(#18181b, #fafafa); }}
  form, main {{ width: min(22rem, calc(100vw - 3rem)); display: grid; gap: .75rem; }}
  h1 {{ font-size: 1.375rem; margin: 0; }}
  p {{ margin: 0; color: light-dark(#52525b, #a1a1aa); font-size: .875rem; overflow-wrap: anywhere; }}
  a {{ color: light-dark(#4f46e5, #a5b4fc); }}
  input, button {{ font: inherit; padding: .6rem .75rem; border-radius: 6px; box-sizing: border-box; width: 100%; }}
  input {{ border: 1px solid light-dark(#d4d4d8, #3f3f46); background: light-dark(#fff, #27272a); color: inherit; }}
  button {{ border: 0; background: #4f46e5; color: #fff; cursor: pointer; }}
  code {{ display: block; }}
  [role=alert] {{ color: light-dark(#b91c1c, #fca5a5); }}
</style>
{body}
</html>
"""


def bare_page(title: str, body: str, status: int) -> Response:
    """The page; `body` is HTML, of which everything that came from elsewhere must be escaped already."""
    return HTMLResponse(_PAGE.format(title=title, body=body), status, {"Cache-Control": "no-store"})
