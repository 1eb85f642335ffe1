# packets passed up or dropped, by datapath and reason, the most frequent first
# events: route.decision
reduce (inputs | select(.event == "route.decision" and .verdict != "relay")) as $e
  ({}; .["\($e.datapath) \($e.verdict) \($e.reason)"] += $e.packets)
| to_entries
| sort_by([-.value, .key])
| .[]
| "\(.value) \(.key)"
