"""The HTTP face of the platform: routers, errors, limits, headers, the web app. Decides nothing about the business."""
