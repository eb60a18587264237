"""The tables of the documents, each as one function that returns Markdown."""
