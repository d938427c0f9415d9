"""How the page looks: Gradio's default theme, with the fonts of the machine."""

from __future__ import annotations

import gradio as gr


def theme() -> gr.themes.Base:
    """Return the theme. Its fonts are the machine's, so that none is fetched from another host."""
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size="lg",
    ).set(  # a contrast of at least 4.5, and of 3 for borders
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
