"""How Sphinx makes the site: Markdown by MyST, looks by Furo; nothing is loaded from elsewhere."""

from convscope import __version__

project = "convscope"
copyright = "convscope contributors, MIT licence"  # as Sphinx calls it
version = release = __version__

extensions = ["myst_parser"]
myst_heading_anchors = 3  # levels that links may name
smartquotes = False  # would make a dash of the two before a flag
highlight_language = "text"  # where a block does not say

html_theme = "furo"
html_title = f"convscope {release}"
html_favicon = "../../src/convscope/web/assets/shared/icon.svg"  # else a browser asks for one that is not there
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0067a3",
        "color-brand-content": "#0067a3",
        "color-brand-visited": "#0067a3",
        "color-background-primary": "#fdfdfb",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6ec1f0",
        "color-brand-content": "#6ec1f0",
        "color-brand-visited": "#6ec1f0",
        "color-background-primary": "#16181d",
    },
}
