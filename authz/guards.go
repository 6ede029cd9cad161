package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
)

// auditTimeout bounds how long the interceptors of a server may take with an audit.
const auditTimeout = 10 * time.Second

// unknownMethod stands for those that an UnknownServiceHandler serves.
const unknownMethod = "/unknown.Service/OfUnknownServiceHandler"

// gap is what is wrong with a guard at one method.
type gap struct {
	kind   FindingKind
	of     string // the guard that is not as it should be
	format string // of the text, with the first method, their number, and their kind
	stream bool
}

// gaps are the methods, by what is wrong there, in the order in which they were found.
type gaps struct {
	order []gap
	first map[gap]string
	count map[gap]int
}

func (g *gaps) add(found gap, at method.Method) {
	if g.count[found] == 0 {
		g.order = append(g.order, found)
		g.first[found] = at.Full
	}
	g.count[found]++
}

func (g *gaps) findings() Findings {
	found := make(Findings, len(g.order))
	for i, one := range g.order {
		kind := "unary methods"
		if one.stream {
			kind = "streams"
		}
		found[i] = Finding{one.kind, one.of, fmt.Sprintf(one.format, g.first[one], g.count[one], kind)}
	}
	return found
}

// audit reports the methods that authn and z, either of which may be nil, do not guard.
func (c *chain) audit(methods []method.Method, authn Authn, z *Authorizer) Findings {
	if authn == nil && z == nil {
		return nil
	}
	if c.unknown {
		methods = append(methods, method.Method{Full: unknownMethod, Stream: true})
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditTimeout)
	defer cancel()
	g := gaps{first: map[gap]string{}, count: map[gap]int{}}
	for _, streams := range []bool{false, true} {
		for _, m := range methods {
			if m.Stream == streams {
				c.guards(ctx, &g, m, authn, z)
			}
		}
	}
	return g.findings()
}

// guards adds what is wrong at one method. It sends a probe to whichever of the two comes
// first, and one more past that one to the other: so nothing runs behind either that
// counts on it, unless the other is not there.
func (c *chain) guards(ctx context.Context, g *gaps, m method.Method, authn Authn, z *Authorizer) {
	switch {
	case z == nil:
		c.expect(g, m, authn.Name(), authn, c.probe(ctx, m, authn))
		return
	case authn == nil:
		c.expectAuthorizer(g, m, z, c.probe(ctx, m, z))
		return
	}
	first := c.probe(ctx, m, authn, z)
	switch first.found {
	case any(authn):
		c.expectAuthorizer(g, m, z, c.probe(ctx, m, z))
	case any(z):
		second := c.probe(ctx, m, authn)
		if second.found == nil {
			c.expect(g, m, authn.Name(), authn, second)
			return
		}
		g.add(gap{
			WrongOrder, authorizerName,
			"it is in front of the " + authn.Name() + " at %s, one of %d %s, and finds no identity there", m.Stream,
		}, m)
	default:
		c.expect(g, m, authn.Name(), authn, first)
		c.expectAuthorizer(g, m, z, first)
	}
}

// expectAuthorizer is expect for z, which need not be in front of a method that it would
// let anybody call.
func (c *chain) expectAuthorizer(g *gaps, m method.Method, z *Authorizer, got answer) {
	if !z.isPublic(m.Full) {
		c.expect(g, m, authorizerName, z, got)
	}
}

// expect adds what is wrong if a probe has not come to a guard.
func (*chain) expect(g *gaps, m method.Method, name string, guard any, got answer) {
	switch {
	case got.found == guard:
	case got.end:
		g.add(gap{NoInterceptor, name, "none of its interceptors is in front of %s, one of %d %s", m.Stream}, m)
	default:
		g.add(gap{
			Unreached, name,
			"whether it guards %s, one of %d %s, is not known: in front of it another interceptor " + got.text(), m.Stream,
		}, m)
	}
}

// text says how an interceptor answered a probe.
func (a *answer) text() string {
	switch _, panicked := errors.AsType[*catch.PanicError](a.err); {
	case a.err == nil:
		return "answers by itself"
	case panicked || errors.Is(a.err, catch.ErrGoexit):
		return "panics"
	case errors.Is(a.err, context.DeadlineExceeded):
		return "does not answer"
	}
	return "answers " + status.Code(a.err).String()
}
