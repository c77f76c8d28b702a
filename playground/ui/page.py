"""The page: header, tabs and settings put together, and how it looks.

Knows every part of the page and, of the program, only the service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import Dependency
from gradio.themes import Default, LocalFont
from gradio.themes.utils import colors, sizes

from playground.ui import account, catalog_view, compare, controls, evaluate, history, link, models, single
from playground.ui.calling import caller_of
from playground.ui.composer import listen
from playground.ui.pane import Pane, refreshed

if TYPE_CHECKING:
    from playground.service import Playground

HERE = Path(__file__).parent
SCRIPTS = (
    "markdown.js",
    "frame.js",
    "closer.js",
    "code.js",
    "link.js",
    "blind.js",
    "rest.js",
    "kept_run.js",
    "totals.js",
    "case_row.js",
    "ballot.js",
    "findings.js",
    "evaluation.js",
    "evaluate.js",
    "history.js",
    "model_row.js",
    "add_model.js",
    "merges.js",
    "models.js",
)
STYLES = ("style.css", "blind.css", "evaluate.css", "history.css", "models.css")
TITLE = "Playground"
EXAMPLES = (
    "Where is my parcel? I ordered a lamp last week.",
    "My teapot came with a crack, please help.",
    "How much is delivery?",
)
INFERENCE_OFF = (
    '<p class="pg-off" role="status">Running is switched off on this server. '
    "The models can be browsed; nothing can be run.</p>"
)
# Browsers look for it at the top of the host, which is somebody else's where a proxy serves the page below a path.
ICON = '<link rel="icon" href="favicon.ico">'


def build_page(playground: Playground, *, hub_sign_in: bool = False) -> gr.Blocks:
    """The whole page over the service. As built it shows what anybody may see; each caller's own comes on loading.
    `hub_sign_in` offers to sign in at the Hub."""
    listed = playground.models()
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as page:
        gr.HTML(f'<h1 class="pg-title">{TITLE}</h1>', apply_default_css=False, js_on_load=None)
        if not playground.inference:
            gr.HTML(INFERENCE_OFF, apply_default_css=False, js_on_load=None)
        with gr.Row(equal_height=False, elem_classes="pg-page"):
            with gr.Column(scale=4, min_width=320), gr.Tabs(elem_id="tabs") as tabs:
                with gr.Tab("Compare", id="compare") as compare_item:
                    copy_compare = link.copy_button("compare", playground.inference)
                    compare_tab = compare.compare(listed, EXAMPLES, playground.inference)
                with gr.Tab("Single", id="single") as single_item:
                    copy_single = link.copy_button("single", playground.inference)
                    single_tab = single.single(listed, EXAMPLES, playground.inference)
                with gr.Tab("Evaluate", id="evaluate", elem_id="evaluate-tab"):
                    evaluate.evaluate(listed, playground.inference)
                with gr.Tab("History", id="history", elem_id="history-tab"):
                    history.history(playground.inference)
                with gr.Tab("Models", id="models", elem_id="models-tab"):
                    models.models(playground.inference)
            with gr.Column(scale=1, min_width=260, elem_classes="pg-settings"):
                settings = controls.controls()
                if playground.keys_on:
                    account.sign_out()
                elif hub_sign_in:
                    account.hub_account(page)
        reader = link.reader(listed, settings)
        events = compare.wire(compare_tab, settings, playground)
        events += single.wire(single_tab, settings, playground)
        sides, alone = compare_tab.panes, (single_tab.pane,)
        tab_items = (compare_item, single_item)
        loaded = _keep_fresh(page, tab_items, events, (*sides, *alone), reader, settings, playground)
        for tab, panes in ((compare_item, sides), (single_item, alone)):
            _show_chosen(tab, panes, settings, playground)
        parts = {"compare": _parts(compare_tab, copy_compare), "single": _parts(single_tab, copy_single)}
        link.wire(reader, tabs, parts, settings, loaded)
        page.unload(_leave(page))
    # Where Gradio knows of a Space, its page asks the Hub for hearts and Google for fonts: this one asks nobody.
    page.space_id = None
    return page


def launch_settings() -> dict[str, Any]:
    """What `launch` must be given for the page to look and work as meant; no host, port or access rules."""
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return {
        "theme": _theme(),
        "css": "\n".join((HERE / name).read_text(encoding="utf-8") for name in STYLES),
        "head": ICON + "".join(f"<script>{script}</script>" for script in scripts),
        "footer_links": [],
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": "1mb",
    }


def _theme() -> Default:
    """Fonts that come with Gradio, so that no other host is asked; weights of which whole files are there."""
    return Default(
        primary_hue=colors.indigo,
        neutral_hue=colors.zinc,
        radius_size=sizes.radius_md,
        font=[LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "monospace"],
    )


def _leave(page: gr.Blocks) -> Callable[[gr.Request], Awaitable[None]]:
    """What ends with a browser's tab. Gradio ends a run when the stream of its updates breaks off, but not where the
    tab closed before there was one."""

    async def leave(request: gr.Request) -> None:
        await page._queue.clean_events(session_hash=request.session_hash)

    return leave


def _parts(tab: compare.Compare | single.Single, copy: gr.Button) -> dict[str, Any]:
    """What a link fills and tells of a tab."""
    if isinstance(tab, single.Single):
        models: dict[str, Any] = {"model": tab.pane.picker}
    else:
        models = {"left": tab.left.picker, "right": tab.right.picker}
        models |= {"left_strength": tab.strengths[0], "right_strength": tab.strengths[1]}
    return {**models, "prompt": tab.composer.prompt, "notice": tab.composer.notice, "copy": copy}


def _keep_fresh(
    page: gr.Blocks,
    tab_items: tuple[gr.Tab, ...],
    events: list[Any],
    panes: tuple[Pane, ...],
    reader: gr.HTML,
    settings: controls.Controls,
    playground: Playground,
) -> Dependency:
    """The pickers tell what models a caller sees, and their state: anew when the page is loaded, when somebody comes
    back to them, and after each run. Returns the first of these events."""
    pickers: set[Any] = {pane.picker for pane in panes}

    def refresh(values: Mapping[Any, Any], request: gr.Request) -> dict[Any, Any]:
        listed = playground.models(caller_of(request))
        updates: dict[Any, Any] = {reader: link.known(listed, settings)}
        for pane in panes:
            updates |= refreshed(pane, listed, values[pane.picker])
        return updates

    outputs = [reader, *pickers, *(pane.note for pane in panes)]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for event in events:
        event.then(refresh, pickers, outputs, **quiet)
    for tab in tab_items:
        tab.select(refresh, pickers, outputs, **quiet)
    return page.load(refresh, pickers, outputs, **quiet)


def _show_chosen(tab: gr.Tab, panes: tuple[Pane, ...], settings: controls.Controls, playground: Playground) -> None:
    """The line below each picker, and the thinking switch where a chosen model thinks."""

    def show(values: Mapping[Any, Any], request: gr.Request) -> dict[Any, Any]:
        listed = playground.models(caller_of(request))
        chosen = [values[pane.picker] for pane in panes]
        notes = {pane.note: catalog_view.note(listed, values[pane.picker]) for pane in panes}
        thinks = any(model.thinking for model in listed if model.card.id in chosen)
        return {**notes, settings.thinking: gr.update(visible=thinks)}

    pickers = {pane.picker for pane in panes}
    outputs = {pane.note for pane in panes} | {settings.thinking}
    triggers = [tab.select, *(pane.picker.change for pane in panes)]
    # A link chooses a tab and its models at once: what is told of the tab's old models must not be the last word.
    listen(triggers, show, pickers, outputs, trigger_mode="always_last")
