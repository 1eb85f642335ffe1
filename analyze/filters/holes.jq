# lines that are missing: gaps in the sequence numbers of each run, in file order
foreach inputs as $e ({};
  .gap = null
  | (.last[$e.run] // null) as $before
  | if $before != null and $e.seq > $before + 1 then .gap = {first: ($before + 1), last: ($e.seq - 1)} else . end
  | .last[$e.run] = ([$before // 0, $e.seq] | max);
  if .gap then "\($e.relay) run \($e.run): seq \(.gap.first) to \(.gap.last) missing before \($e.time)" else empty end)
