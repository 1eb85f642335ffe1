// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"plumbline/analyze"
	"plumbline/logs"
)

// Open findings about routes are kept by what they are about, so that the line
// that ends one finds it: "allocation, channel, peer" and then the kind.
func routeKey(allocation string, channel logs.Channel, peer logs.Addr) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00", allocation, channel, peer)
}

func (r *run) routeDrifted(l *analyze.Line, e logs.RouteDrifted) {
	key := routeKey(e.Allocation, e.Channel, e.Peer)
	what := "a route was missing from the kernel"
	switch e.Class {
	case "different":
		what = "the kernel held a route otherwise than intended"
	case "stale":
		what = "a route in the kernel had another expiry than intended"
	case "unexpected":
		what = "the kernel held a route that nobody had asked for"
		if e.Kernel != nil {
			key += e.Kernel.Key
		}
	}
	key += "drift\x00" + e.Class
	if f := r.routes[key]; f != nil {
		f.cite(l, "drift, "+e.Direction)
		return
	}
	f := r.finding(RouteDrift, when(l), what)
	f.Generation, f.Diff = e.Generation, append(f.Diff, e.Diff...)
	if e.Allocation != "" {
		f.Summary += fmt.Sprintf(": %s channel %s → %s", e.Allocation, e.Channel, e.Peer)
	} else if e.Kernel != nil {
		f.Summary += ": " + e.Kernel.Key
	}
	f.cite(l, strings.TrimSuffix(e.Class+", "+e.Direction, ", "))
	r.routes[key] = f
}

func (r *run) routeRepaired(l *analyze.Line, e logs.RouteRepaired) {
	for _, key := range r.matching(routeKey(e.Allocation, e.Channel, e.Peer), "drift\x00"+e.Class) {
		if !e.Verified {
			r.routes[key].cite(l, "repair failed")
			continue
		}
		r.endRoute(key, l, "repaired")
	}
}

func (r *run) routeFailed(l *analyze.Line, e logs.RouteFailed) {
	// Nothing is wrong: the route follows with the first packet, or the router
	// is not made for it.
	if e.Pending || e.ByDesign {
		return
	}
	if r.offload.gone || r.intended != nil && !r.intended.Enabled {
		return
	}
	key := routeKey(e.Allocation, e.Channel, e.Peer) + "userspace"
	if f := r.routes[key]; f != nil {
		f.cite(l, "failed again")
		return
	}
	f := r.finding(UserspaceRoute, when(l), fmt.Sprintf("%s channel %s → %s was relayed in user space: %s", e.Allocation, e.Channel, e.Peer, e.Error))
	f.Generation = e.Generation
	f.Effect = &Effect{}
	f.cite(l, "failed")
	r.routes[key] = f
}

func (r *run) routeInstalled(l *analyze.Line, e logs.RouteInstalled) {
	r.endMatching(routeKey(e.Allocation, e.Channel, e.Peer), "", l, "installed")
}

func (r *run) routeRemoved(l *analyze.Line, e logs.RouteRemoved) {
	r.endMatching(routeKey(e.Allocation, e.Channel, e.Peer), "", l, "removed")
}

func (r *run) allocationDeleted(l *analyze.Line, e logs.AllocationDeleted) {
	r.endMatching(e.Allocation+"\x00", "", l, "allocation ended")
}

// matching are the keys of the open findings of a route, of one kind or of all,
// in the order in which they began.
func (r *run) matching(prefix, suffix string) []string {
	var keys []string
	for key := range r.routes {
		if strings.HasPrefix(key, prefix) && strings.HasSuffix(key, suffix) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		if c := r.routes[a].From.Compare(r.routes[b].From.Time); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return keys
}

func (r *run) endMatching(prefix, suffix string, l *analyze.Line, role string) {
	for _, key := range r.matching(prefix, suffix) {
		r.endRoute(key, l, role)
	}
}

func (r *run) endRoute(key string, l *analyze.Line, role string) {
	f := r.routes[key]
	delete(r.routes, key)
	if l == nil {
		f.Standing = true
	} else {
		f.To = when(l)
		f.cite(l, role)
	}
	if f.Effect != nil {
		f.Effect.Text = f.Effect.words()
		if f.Effect.Text == "" {
			f.Effect = nil
		}
	}
	r.report(f, routeGroup(f))
}

// routeGroup is what makes findings about several routes one: the same thing
// happened to each for the same reason.
func routeGroup(f *Finding) string {
	what, reason, _ := strings.Cut(f.Summary, ": ")
	if f.Class == UserspaceRoute {
		return reason
	}
	fields := make([]string, len(f.Diff))
	for i, d := range f.Diff {
		fields[i] = d.Field
	}
	return what + strings.Join(fields, ",")
}

func (r *run) endRoutes() { r.endMatching("", "", nil, "") }

// decision books a route.decision. There are more of these than of all other
// lines, so that their few fields are read without decoding the line.
func (r *run) decision(l *analyze.Line) {
	n, err := strconv.ParseUint(string(analyze.Field(l.Raw, "packets")), 10, 64)
	if err != nil {
		r.sums.unknown = true
		return
	}
	datapath, verdict := analyze.Field(l.Raw, "datapath"), analyze.Field(l.Raw, "verdict")
	r.sums.add(datapath, verdict, n)
	if len(r.routes) == 0 || string(datapath) != "userspace" || string(verdict) != "relay" {
		return
	}
	prefix := fmt.Sprintf("%s\x00%s\x00%s\x00", analyze.Field(l.Raw, "allocation"), analyze.Field(l.Raw, "channel"), analyze.Field(l.Raw, "peer"))
	for _, key := range r.matching(prefix, "") {
		f := r.routes[key]
		if f.Effect == nil {
			f.Effect = &Effect{}
		}
		f.Effect.Userspace += n
	}
}
