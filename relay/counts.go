// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"sync/atomic"

	"plumbline/bpf"
	"plumbline/relay/account"
	"plumbline/relay/reconcile"
)

// kernelCounts is the kernel path as the account reads it: flows from the
// reconciler, who knows which number is whose, and verdicts from the router.
type kernelCounts struct {
	*reconcile.Reconciler
	maps     *bpf.Maps
	base     bpf.Counters // what the self-test left: no packet of anybody's
	txErrors *atomic.Uint64
}

// Counts are the router's counters since the self-test.
func (k *kernelCounts) Counts() (account.KernelCounts, error) {
	now, err := k.maps.Counters()
	if err != nil {
		return account.KernelCounts{}, err
	}
	now = now.Sub(k.base)
	counts := account.KernelCounts{Received: now.Received, DecisionsLost: now.DecisionsLost, TxErrors: k.txErrors.Load()}
	for o, n := range now.All() {
		counts.Outcomes = append(counts.Outcomes, outcome(o, n))
	}
	return counts, nil
}

// outcome puts a counter into the log's words. Which way a frame left (XDP_TX or
// a redirect) is the device's business; the log names the path.
func outcome(o bpf.Outcome, packets uint64) account.Outcome {
	out := account.Outcome{Verdict: string(o.Verdict), Direction: string(o.Direction), Reason: o.Reason, Packets: packets}
	if o.Verdict == bpf.RelayTX || o.Verdict == bpf.RelayRedirect {
		out.Verdict, out.Reason = "relay", account.PathOf(out.Direction)
	}
	return out
}

// readDecisions passes the router's hints on until the reader is closed: a first
// packet makes the account look, other packets serve as examples.
func readDecisions(d *bpf.Decisions, a *account.Account) {
	for {
		decision, err := d.Read()
		if err != nil {
			return // closed, or unreadable: the account does without hints
		}
		if decision.Verdict == bpf.RelayTX || decision.Verdict == bpf.RelayRedirect {
			a.Hint()
			continue
		}
		a.Example(decision.Reason, fmt.Sprintf("%s, %d bytes", decision.Key, decision.Length))
	}
}
