package probe_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/internal/probe"
)

func TestAProbeStopsAtTheFirstOfItsTargets(t *testing.T) {
	a, b, other := new(int), new(int), new(int)
	ctx, p, done := probe.Start(t.Context(), a, b)
	if probe.From(ctx) != p || p.Found() != nil {
		t.Fatalf("the context holds %v, which has found %v", probe.From(ctx), p.Found())
	}
	if probe.From(t.Context()) != nil {
		t.Error("another context holds one")
	}
	if err := p.Meet(other); err != nil || p.Found() != nil {
		t.Errorf("another answers %v, found %v", err, p.Found())
	}
	for range 2 { // it may be tried again
		if err := p.Meet(b); status.Code(err) != codes.Canceled || status.Convert(err).Message() != "start-up audit" {
			t.Errorf("a target answers %v", err)
		}
	}
	if err := p.Meet(a); err == nil || p.Found() != any(b) {
		t.Errorf("the second target answers %v, found %v", err, p.Found())
	}
	done()
	done()
	if probe.From(ctx) != nil {
		t.Error("it goes on when it is done")
	}
}

func BenchmarkFromWithoutAProbe(b *testing.B) {
	ctx := context.Background()
	for b.Loop() {
		if probe.From(ctx) != nil {
			b.Fatal()
		}
	}
}
