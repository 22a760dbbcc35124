"""How Sphinx makes the site: Markdown by MyST, looks by Furo; nothing is loaded from elsewhere."""

from convscope import __version__

project = "convscope"
author = "convscope contributors"
version = release = __version__
copyright = "convscope contributors, MIT licence"

extensions = ["myst_parser"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
highlight_language = "text"
nitpicky = True

html_theme = "furo"
html_title = f"convscope {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/mark.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8a3a12", "color-brand-content": "#8a3a12"},
    "dark_css_variables": {"color-brand-primary": "#f0a070", "color-brand-content": "#f0a070"},
}
