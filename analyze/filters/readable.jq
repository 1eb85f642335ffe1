# every line as a person reads it: time, severity and message
inputs
| "\(.time) \(.severity) \(.message)"
