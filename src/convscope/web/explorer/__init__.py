"""The explorer: a network to click through in the browser, with what each unit sees."""
