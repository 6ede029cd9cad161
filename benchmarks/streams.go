package main

import (
	"context"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// streamBytes is what an open stream holds in memory, stacks included, on the server and
// the client, in each round.
type streamBytes struct {
	kind          string
	bytes, stacks series // of the bytes those that are stacks
}

// heap is of the bytes those that are not stacks.
func (s streamBytes) heap() series {
	heap := series{}
	for name, values := range s.bytes {
		for round, bytes := range values {
			heap[name] = append(heap[name], bytes-s.stacks[name][round])
		}
	}
	return heap
}

const (
	passingStream = "an interceptor that does nothing"
	boundStream   = "bound to its session"
)

// streamKinds are the ways to open a stream that stays open until ctx ends.
var streamKinds = []struct {
	name string
	open func(ctx context.Context, client grpc_testing.TestServiceClient)
}{
	{"the client sends one message", func(ctx context.Context, client grpc_testing.TestServiceClient) {
		stream, err := client.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
		must(err)
		_, err = stream.Recv()
		must(err)
	}},
	{"the client may send many", func(ctx context.Context, client grpc_testing.TestServiceClient) {
		stream, err := client.FullDuplexCall(ctx)
		must(err)
		for range 8 { // before it is weighed
			must(stream.Send(&grpc_testing.StreamingOutputCallRequest{}))
			_, err := stream.Recv()
			must(err)
		}
	}},
}

// measureStreams lets both take turns, after a round that only makes what stays in memory.
func measureStreams(s scale) []streamBytes {
	pass := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, stream)
	}
	auth := newAuth(verify, cache.Policy{TTL: ttl})
	measured := make([]streamBytes, 0, len(streamKinds))
	for _, kind := range streamKinds {
		bytes, stacks := series{}, series{}
		for round := range s.streamRounds + 1 {
			passing, passingStacks := bytesPerStream(s.streams, kind.open, grpc.StreamInterceptor(pass))
			bound, boundStacks := bytesPerStream(s.streams, kind.open, auth.ServerOptions()...)
			if round > 0 {
				bytes[passingStream], stacks[passingStream] = append(bytes[passingStream], passing), append(stacks[passingStream], passingStacks)
				bytes[boundStream], stacks[boundStream] = append(bytes[boundStream], bound), append(stacks[boundStream], boundStacks)
			}
		}
		measured = append(measured, streamBytes{kind.name, bytes, stacks})
	}
	return measured
}

func bytesPerStream(streams int, open func(context.Context, grpc_testing.TestServiceClient), opts ...grpc.ServerOption) (bytes, stacks float64) {
	client, stop := serve(bufconnTransport, opts...)
	defer stop()
	ctx, cancel := context.WithCancel(outgoing(token(0)))
	defer cancel()
	open(ctx, client) // what is made only once
	before, stacksBefore := inUse()
	for range streams {
		open(ctx, client)
	}
	after, stacksAfter := inUse()
	return float64(after-before) / float64(streams), float64(stacksAfter-stacksBefore) / float64(streams)
}

// inUse is the memory of heap and stacks when all is quiet, and that of stacks alone.
func inUse() (bytes, stacks int64) {
	for range 3 {
		runtime.GC()
		time.Sleep(50 * time.Millisecond) // goroutines come to rest
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse), int64(m.StackInuse)
}
