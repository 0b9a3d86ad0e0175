package conformance_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// callLog records the called RPCs, and the codes of their responses.
type callLog struct {
	mu      sync.Mutex
	answers map[string][]codes.Code // by the RPC's name
}

// note is a [grpc.UnaryClientInterceptor].
func (l *callLog) note(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == nil {
		l.answers = map[string][]codes.Code{}
	}
	if code := status.Code(err); !slices.Contains(l.answers[method], code) {
		l.answers[method] = append(l.answers[method], code)
	}
	return err
}

// never lists the RPCs that this provider does not support.
var never = []string{"HardwareUpgrade", "ListHosts", "GetHostInfo", "TransferOwner"}

// covers checks that a run has called every RPC of the service, and that each supported one has succeeded.
func (l *callLog) covers(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	service := providerv1.Provider_ServiceDesc
	for _, rpc := range service.Methods {
		answers := l.answers["/"+service.ServiceName+"/"+rpc.MethodName]
		switch has := !slices.Contains(never, rpc.MethodName); {
		case len(answers) == 0:
			t.Errorf("no check calls %s", rpc.MethodName)
		case has && !slices.Contains(answers, codes.OK):
			t.Errorf("no check has %s succeed; it returned %v", rpc.MethodName, answers)
		case !has && !slices.Equal(answers, []codes.Code{codes.Unimplemented}):
			t.Errorf("%s returned %v; want only Unimplemented", rpc.MethodName, answers)
		}
	}
}

// background is the context of the cleanup after a test.
var background = context.Background()
