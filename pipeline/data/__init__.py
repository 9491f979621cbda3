"""Tables of pictures and boxes: readers, checks, writers and the demo sets. Knows neither torch nor Ultralytics."""
