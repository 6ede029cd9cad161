// Package ctxkey finds out under which key another package keeps something in a context.
package ctxkey

import "context"

// probe is a context that remembers what it is asked for.
type probe struct {
	context.Context //nolint:containedctx // it is one

	key any
}

func (p *probe) Value(key any) any {
	if p.key == nil {
		p.key = key
	}
	return nil
}

// Of returns the key that get asks its context for first; nil for none.
func Of(get func(ctx context.Context)) any {
	p := &probe{Context: context.Background()}
	get(p)
	return p.key
}
