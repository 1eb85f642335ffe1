# packets and bytes by direction, datapath and verdict, with the share of packets
# events: route.decision
reduce (inputs | select(.event == "route.decision")) as $e
  ({};
   "\($e.direction) \($e.datapath) \($e.verdict)" as $k
   | .[$k].packets += $e.packets
   | .[$k].bytes += $e.bytes)
| ([.[] | .packets] | add // 0) as $all
| to_entries
| sort_by(.key)
| .[]
| select($all > 0)
| "\(.key): \(.value.packets) packets (\(.value.packets * 1000 / $all | floor | "\(. / 10 | floor).\(. % 10)") %), \(.value.bytes) bytes"
