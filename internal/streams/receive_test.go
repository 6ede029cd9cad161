package streams_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// legacy is a message of a generator that knows nothing of reflection.
type legacy struct {
	Name *string `protobuf:"bytes,1,opt,name=name"`
}

func (m *legacy) Reset()         { *m = legacy{} }
func (m *legacy) String() string { return *m.Name } //nolint:protogetter // it has no getters
func (*legacy) ProtoMessage()    {}

// oneMessage is a stream of one message of the client.
type oneMessage struct {
	grpc.ServerStream

	data []byte
}

func (s oneMessage) RecvMsg(m any) error { return proto.Unmarshal(s.data, m.(proto.Message)) }

// TestAMessageThatOnlyWrapsAnotherIsReceivedInPlace: a copy of the wrapper would not
// reach the message that the handler holds.
func TestAMessageThatOnlyWrapsAnotherIsReceivedInPlace(t *testing.T) {
	data, err := proto.Marshal(protoadapt.MessageV2Of(&legacy{Name: new("ada")}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, w := watch(t.Context(), ada(time.Time{}), 0, nil, nil)
	err = w.Serve(ctx, nil, oneMessage{data: data}, &grpc.StreamServerInfo{IsClientStream: true},
		func(_ any, stream grpc.ServerStream) error {
			var m legacy
			if err := stream.RecvMsg(protoadapt.MessageV2Of(&m)); err != nil {
				return err
			}
			if m.Name == nil || *m.Name != "ada" { //nolint:protogetter // see above
				t.Errorf("received %+v", m)
			}
			return nil
		})
	if err != nil || context.Cause(ctx) == nil {
		t.Error(err)
	}
}
