// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/pion/stun/v3"
)

// What a probe can find wrong; Run's errors wrap one of these.
var (
	ErrUnreachable = errors.New("can't reach the relay")
	ErrCredentials = errors.New("the relay refuses the credentials")
	ErrForbidden   = errors.New("the relay forbids the peer")
	ErrRefused     = errors.New("the relay refuses")
	ErrNoChannel   = errors.New("the relay does not use the channel")
	ErrLoss        = errors.New("datagrams were lost")
)

const (
	stepBinding    = "a STUN Binding request"
	stepAllocate   = "an Allocate request"
	stepPermission = "a CreatePermission request"
	stepChannel    = "a ChannelBind request"
	stepRefresh    = "a Refresh request"
)

var methods = map[string]stun.Method{
	stepBinding: stun.MethodBinding, stepAllocate: stun.MethodAllocate,
	stepPermission: stun.MethodCreatePermission, stepChannel: stun.MethodChannelBind,
	stepRefresh: stun.MethodRefresh,
}

// explain turns what ended a step into words for a person: what was tried, what
// came back, what to check. i is the end that took the step.
func (t *tap) explain(ctx context.Context, step string, result *Result, i int, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("probing %s was given up during %s: %w", result.Server, step, ctx.Err())
	}
	if _, refusal, _ := t.response(methods[step]); refusal != nil {
		if e := t.refused(step, refusal, result, i); e != nil {
			return e
		}
	}
	switch cause := context.Cause(t.ctx); {
	case errors.Is(cause, errNobodyListens):
		return fmt.Errorf("%w: %s over UDP: %w; check that the relay runs and that its listen addresses and the port are right",
			ErrUnreachable, result.Server, cause)
	case errors.Is(cause, errNoAnswer) && step == stepBinding:
		return fmt.Errorf("%w: %s did not answer %s over UDP, sent several times; check the address, that the relay runs, "+
			"and that firewalls on the way let UDP to this port and back through", ErrUnreachable, result.Server, step)
	case errors.Is(cause, errNoAnswer):
		return fmt.Errorf("%w: %s answered until %s, which had no answer, sent several times; see the relay's log",
			ErrUnreachable, result.Server, step)
	}
	return fmt.Errorf("%w: %s to %s: %w", ErrUnreachable, step, result.Server, err)
}

func (t *tap) refused(step string, refusal *stun.ErrorCodeAttribute, result *Result, i int) error {
	code := int(refusal.Code)
	said := fmt.Sprintf("%d %s", code, refusal.Reason)
	peer := result.Relayed[1-i]
	switch {
	case code == 401 || code == 441 || code == 400 && step == stepAllocate:
		also := ""
		if code == 400 {
			also = " (some servers answer 400 to a wrong user name or password)"
		}
		return fmt.Errorf("%w of user %q: %s to %s got %s%s; check user name and password",
			ErrCredentials, result.User, step, result.Server, said, also)
	case code == 403 || code == 0 && step == stepPermission:
		return fmt.Errorf("%w: %s for peer %s got %s; the peer is the probe's other allocation on the same relay, "+
			"so the relay denies its own relayed address: check its public address and its peers.deny", ErrForbidden, step, peer, said)
	case code == 486:
		return fmt.Errorf("%w: %s got %s: user %q holds as many allocations as it may, and the probe needs two; "+
			"wait until earlier ones expire or raise allocations.per_user", ErrRefused, step, said, result.User)
	case code == 508:
		return fmt.Errorf("%w: %s got %s: the relay has no free port or is at its bound; check allocations.ports and allocations.total",
			ErrRefused, step, said)
	case code == 300:
		return fmt.Errorf("%w: %s got %s: the relay is draining and sends clients to another server", ErrRefused, step, said)
	case code == 438:
		return fmt.Errorf("%w: %s got %s again and again; check auth.nonce_lifetime and the relay's clock", ErrRefused, step, said)
	}
	return fmt.Errorf("%w: %s to %s got %s", ErrRefused, step, result.Server, said)
}
