# warnings and errors, with the event's name
inputs
| select(.severity == "WARN" or .severity == "ERROR")
| "\(.time) \(.severity) \(.event): \(.message)"
