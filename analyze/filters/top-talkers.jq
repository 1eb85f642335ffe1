# the clients that moved most bytes; --arg n N says how many (10)
# events: route.decision
# Sums are kept in buckets: an engine that copies an object to change it would
# otherwise copy every client for every line.
(($ARGS.named.n // "10") | tonumber) as $n
| reduce (inputs | select(.event == "route.decision" and .client != null and .verdict == "relay")) as $e
  ({};
   ($e.client | .[:rindex(":")]) as $who
   | ($who | explode | add % 251 | tostring) as $bucket
   | .[$bucket][$who] |= [.[0] + $e.packets, .[1] + $e.bytes])
| [.[] | to_entries[]]
| sort_by([-.value[1], .key])
| .[:$n][]
| "\(.value[1]) bytes \(.value[0]) packets \(.key)"
