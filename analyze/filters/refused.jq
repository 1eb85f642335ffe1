# who was refused, why and how often: requests, credentials, peers, channels
# events: allocation.rejected, auth.rejected, permission.denied, channel.rejected
# Counts are kept in buckets: an engine that copies an object to change it would
# otherwise copy every count for every line.
reduce (inputs
  | select(.event == "allocation.rejected" or .event == "auth.rejected" or .event == "permission.denied" or .event == "channel.rejected")) as $e
  ({};
   # A client's port changes with each try: its address is what counts.
   (if $e.client then ($e.client | .[:rindex(":")]) else "\($e.allocation)" end) as $who
   | "\($e.event) \($e.code) \($who): \($e.reason // $e.rule)" as $what
   | .[$what | explode | add % 251 | tostring][$what] += ([$e.count // 1, 1] | max))
| [.[] | to_entries[]]
| sort_by([-.value, .key])
| .[]
| "\(.value) \(.key)"
