# where the kernel differed from intent: one line per field, then how it ended
# events: config.drifted, config.repaired, route.drifted, route.repaired
# Values are shown as JSON, so that 0 and "0" stay apart.
inputs
| select(.event == "config.drifted" or .event == "config.repaired" or .event == "route.drifted" or .event == "route.repaired")
| . as $e
| (if (.allocation // "") != "" then " \(.allocation) \(.channel) → \(.peer)"
   elif .event == "route.drifted" then " \((.kernel // {}).key // "unknown")"
   else "" end) as $who
| if (.event | endswith("drifted")) then
    if ((.diff // []) | length) == 0 then
      "\(.time) \(.event)\($who): \(.class // "differs") (config \(.generation))"
    else
      .diff[]
      | "\($e.time) \($e.event)\($who): \(.field) intended \(.intended | tojson) kernel \(.kernel | tojson) (config \($e.generation))"
    end
  else
    "\(.time) \(.event)\($who): \(if .class then "\(.class), " else "" end)\(if .verified then "verified" else "NOT verified" end)"
  end
