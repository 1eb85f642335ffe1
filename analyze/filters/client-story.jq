# all that happened to one client: --arg client IP or IP:PORT (all clients without)
# Lines that name only the allocation are the client's too, once its id is known.
# events: allocation.*, permission.*, channel.*, route.*, auth.*, checkpoint.allocation
($ARGS.named.client // "") as $want
| foreach inputs as $e ({ids: {}};
    "\($e.run) \($e.allocation)" as $id
    | (($e.client // "") | tostring) as $client
    | .show = (
        ($e.event | test("^(allocation|permission|channel|route|auth)[.]|^checkpoint[.]allocation$"))
        and (if $client != "" then ($want == "" or $client == $want or ($client | startswith($want + ":")) or ($client | startswith("[" + $want + "]:")))
             else ($e.allocation != null and ((.ids[$id] // false) or $want == "")) end))
    | if .show and $e.allocation != null then .ids[$id] = true else . end
    | if $e.event == "allocation.deleted" then .ids |= del(.[$id]) else . end;
    if .show then "\($e.time) \($e.event): \($e.message)" else empty end)
