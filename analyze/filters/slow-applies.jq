# config applies that took at least --arg us N microseconds (1000), the slowest first
# events: config.applied
(($ARGS.named.us // "1000") | tonumber) as $least
| [inputs | select(.event == "config.applied" and .duration_us >= $least)]
| sort_by([-.duration_us, .time])
| .[]
| "\(.duration_us) us config \(.generation) \(.time) \(.relay)"
