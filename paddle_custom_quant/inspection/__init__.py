"""Facts about a program or a saved model: summary, page, difference, report, live values."""
