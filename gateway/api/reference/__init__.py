"""The API describes itself: an OpenAPI document made from the routes, and a page that shows it."""
