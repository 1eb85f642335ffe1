# packets and bytes by direction, datapath and verdict, with the share of packets
# events: route.decision
reduce (inputs | select(.event == "route.decision")) as $e
  ({}; .["\($e.direction) \($e.datapath) \($e.verdict)"] |= [.[0] + $e.packets, .[1] + $e.bytes])
| ([.[] | .[0]] | add // 0) as $all
| to_entries
| sort_by(.key)
| .[]
| select($all > 0)
| "\(.key): \(.value[0]) packets (\(.value[0] * 1000 / $all | floor | "\(. / 10 | floor).\(. % 10)") %), \(.value[1]) bytes"
