"""Other tools' files about HTTP requests, read into a flow's config and written from one. Pure: text in, text out.

Every importer gives an `Imported`: a config, and honest notes on what it could not carry over. Every exporter gives an
`Exported`. Bad input is an InvalidRequestError with its faults and nothing else.
"""
