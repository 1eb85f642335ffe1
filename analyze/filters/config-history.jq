# every config: loaded, rejected, applied, rolled back, and on which CPUs it was seen
# events: config.loaded, config.rejected, config.applied, config.rolled_back, config.observed
inputs
| if .event == "config.loaded" then
    "\(.time) config \(.generation) loaded (\(.source)): "
    + ([(.changes // [])[] | "\(.field) \(.from | tojson) → \(.to | tojson)"] | if length == 0 then "nothing changed" else join(", ") end)
  elif .event == "config.rejected" then
    "\(.time) config rejected, \(.kept_generation) stays: \(.path):\(.line):\(.column): \(.error)"
  elif .event == "config.applied" then
    "\(.time) config \(.generation) applied in \(.duration_us) us, "
    + (if .verified == null then "user space only" elif .verified then "verified" else "NOT VERIFIED" end)
  elif .event == "config.rolled_back" then
    "\(.time) config \(.generation) rolled back at \(.step), \(.kept_generation) stays: \(.error)"
  elif .event == "config.observed" then
    "\(.time) config \(.generation) seen on cpu \(.cpu)"
  else empty end
