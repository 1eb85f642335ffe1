# the clients that moved most bytes; --arg n N says how many (10)
# events: route.decision
(($ARGS.named.n // "10") | tonumber) as $n
| reduce (inputs | select(.event == "route.decision" and .client != null and .verdict == "relay")) as $e
  ({};
   ($e.client | sub(":[0-9]+$"; "")) as $who
   | .[$who].packets += $e.packets
   | .[$who].bytes += $e.bytes)
| to_entries
| sort_by([-.value.bytes, .key])
| .[:$n][]
| "\(.value.bytes) bytes \(.value.packets) packets \(.key)"
